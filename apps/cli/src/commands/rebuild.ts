import { CutRef } from '@virtcft/events';
import { z } from 'zod';
import { CliError, exit } from '../exit.js';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { description } from '../table.js';
import { cutName } from './status.js';

export interface RebuildOptions extends GlobalOptions { readonly dryRun?: boolean; readonly yes?: boolean }

const Rebuilt = z.object({
  dry_run: z.boolean(), cluster: z.uuid(), name: z.string(), definition: z.number(), protected: z.boolean(), stopped: z.boolean(), generation: z.number(), highest: z.number(), highest_seen: z.number(),
  tip: CutRef.nullable(), disks: CutRef.nullable(), vms: z.array(z.string()), pins: z.array(z.string()), void: z.array(CutRef), incomplete: z.array(z.string()),
});
type Rebuilt = z.infer<typeof Rebuilt>;

/** A store of many generations takes a while to be read. */
const patience_ms = 120_000;

/** Makes the log of a cluster anew from the object store, when the bus has lost it. Without --yes only says what was found and what would be lost. */
export async function rebuild(io: Io, options: RebuildOptions): Promise<void> {
  await Session.run(io, options, async (session) => {
    const ask = (dry_run: boolean, cluster = options.cluster ?? null) => session.ask('coordinator', 'rebuild', { cluster, by: session.by, dry_run, confirm: !dry_run }, Rebuilt, patience_ms);
    const found = await ask(true);
    if (!options.dryRun && !options.yes) {
      throw new CliError(exit.refused, `making the log of cluster ${found.name} anew: ${outcome(found)}; lost: ${lost(found).join('; ')}`, 'say --yes to do it, --dry-run to see it in full');
    }
    const result = options.dryRun ? found : await ask(false, found.cluster);
    session.show(result, () => description([
      ['cluster', `${result.name} (${result.cluster})`], ['found', `definition ${result.definition}, ${result.vms.length} VMs, ${result.pins.length} pins, generation ${result.generation}`],
      ['newest cut', cutName(result.tip) ?? `none${result.disks === null ? '' : `; the VMs boot with the disks of ${cutName(result.disks)}`}`],
      ['next generation', `above ${result.highest}${result.highest_seen > result.generation ? `, which an agent has seen` : ''}`],
      [result.dry_run ? 'would be' : 'is', outcome(result)], [result.dry_run ? 'would be lost' : 'is lost', lost(result)],
      ['void', result.void.map((cut) => `cut ${cutName(cut)}, which does not follow from the newest generation`)], ['incomplete', result.incomplete],
    ]));
  });
}

const outcome = ({ tip, stopped }: Rebuilt): string =>
  (stopped ? 'stopped, as it was: "virtcft apply" starts it' : tip === null ? 'started again when its hosts are there' : `recovered to cut ${cutName(tip)} on the hosts that are there`);

const lost = ({ tip, stopped, protected: on }: Rebuilt): string[] => [
  ...(stopped ? [] : [tip === null ? 'all that the VMs did: no cut was committed' : `what the VMs did after cut ${cutName(tip)}`]),
  ...(on || stopped ? [] : ['also what the outside was told, for protection was off']),
  'the history of decisions and reports; cuts keep their numbers',
];
