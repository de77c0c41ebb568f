import { CutRef } from '@virtcft/events';
import { z } from 'zod';
import { CliError, exit } from '../exit.js';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { description, duration } from '../table.js';

export interface RestoreOptions extends GlobalOptions { readonly cut: string; readonly dryRun?: boolean; readonly yes?: boolean }

const Restored = z.object({ dry_run: z.boolean(), cut: CutRef, lost: z.object({ epochs: z.number(), seconds: z.number().nullable() }), vms: z.array(z.string()) });

/** `G-E`: generation and epoch, as `get cuts` shows them. */
export function parseCut(text: string): { generation: number; epoch: number } {
  const match = /^([1-9][0-9]{0,9})-([1-9][0-9]{0,15})$/.exec(text);
  if (!match) throw new CliError(exit.usage, `"${text}" does not name a cut`, 'write generation and epoch, as "virtcft get cuts" shows them: 1-120');
  return { generation: Number(match[1]), epoch: Number(match[2]) };
}

/** Takes the cluster back to a cut. Without --yes only says what would be lost. */
export async function restore(io: Io, options: RestoreOptions): Promise<void> {
  const cut = parseCut(options.cut);
  await Session.run(io, options, async (session) => {
    const view = await session.cluster();
    const ask = (dry_run: boolean) => session.ask('coordinator', 'restore', { cluster: view.name, ...cut, by: session.by, dry_run, confirm: !dry_run }, Restored, 30_000);
    const plan = await ask(true);
    const loss = `${plan.lost.epochs} epochs${plan.lost.seconds === null ? '' : `, ${duration(plan.lost.seconds * 1_000)}`}, also what the outside has already seen`;
    if (!options.dryRun && !options.yes) {
      throw new CliError(exit.refused, `restoring ${options.cut} takes ${plan.vms.length} VMs of cluster ${view.name} back and loses ${loss}`, 'say --yes to do it, --dry-run to see it again');
    }
    const result = options.dryRun ? plan : await ask(false);
    session.show({ cluster: view.name, ...result }, () => description([
      [result.dry_run ? 'would restore' : 'restores', `cut ${options.cut} of cluster ${view.name}`], [result.dry_run ? 'would lose' : 'loses', loss], ['VMs', result.vms], ['manifest', result.cut.key],
    ]));
  });
}
