import { z } from 'zod';
import { CliError, exit } from '../exit.js';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { description, table } from '../table.js';

export interface GcOptions extends GlobalOptions { readonly dryRun?: boolean; readonly yes?: boolean }

const Collection = z.object({
  dry_run: z.boolean(), objects: z.array(z.object({ key: z.string(), bytes: z.number(), why: z.string() })), objects_total: z.number(), bytes: z.number(),
  waiting_total: z.number(), waiting_bytes: z.number(), retained: z.number(), cuts: z.number(),
});

const mib = (bytes: number): string => `${(bytes / 1_048_576).toFixed(1)} MiB`;
/** A store of many cuts takes a while to be listed, and longer to be cleared. */
const patience_ms = 300_000;

/** Has the replica store remove garbage (R23); without --yes only says how much there is. */
export async function gc(io: Io, options: GcOptions): Promise<void> {
  await Session.run(io, options, async (session) => {
    const view = await session.cluster();
    const ask = (dry_run: boolean) => session.ask('replica-store', 'gc', { cluster: view.id, by: session.by, dry_run }, Collection, patience_ms);
    const found = await ask(true);
    if (!options.dryRun && !options.yes) {
      throw new CliError(exit.refused, `this removes ${found.objects_total} objects, ${mib(found.bytes)}, of cluster ${view.name} for ever`, 'say --yes to do it, --dry-run to see them');
    }
    const result = options.dryRun ? found : await ask(false);
    const { objects, objects_total, bytes, waiting_total, waiting_bytes, retained, cuts } = result;
    session.show({ cluster: view.name, ...result }, () => description([
      ['cluster', view.name], ['retained', `${retained} of ${cuts} cuts${view.spec?.retention === undefined ? ': no retention is set' : ''}`],
      [result.dry_run ? 'would remove' : 'removed', `${objects_total} objects, ${mib(bytes)}`], ['in their grace', `${waiting_total} objects, ${mib(waiting_bytes)}`],
    ]) + (objects.length === 0 ? '' : table(objects.map((object) => ({ ...object })), '')));
  });
}
