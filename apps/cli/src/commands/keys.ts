import { z } from 'zod';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { description, table } from '../table.js';

const KeyUses = z.object({
  current: z.string(), plain_accepted: z.boolean(),
  keys: z.array(z.object({ id: z.string().nullable(), current: z.boolean(), known: z.boolean(), objects: z.number(), bytes: z.number() })),
});
type Use = z.infer<typeof KeyUses>['keys'][number];

/** The head of every object is read. */
const patience_ms = 600_000;

/** Which keys the objects of the store are sealed with: which of them may be taken out of the file. */
export async function keys(io: Io, options: GlobalOptions): Promise<void> {
  await Session.run(io, options, async (session) => {
    const result = await session.ask('replica-store', 'keys', {}, KeyUses, patience_ms);
    session.show(result, () => description([['current', result.current], ['plain objects', result.plain_accepted ? 'accepted' : 'refused']])
      + table(result.keys.map((use) => ({ key: use.id ?? '(not sealed)', objects: String(use.objects), mib: (use.bytes / 1_048_576).toFixed(1), state: stateOf(use) })), ''));
  });
}

function stateOf({ id, current, known, objects }: Use): string {
  if (id === null) return objects === 0 ? 'none' : 'older than the keys, or damaged: see "virtcft verify"';
  if (current) return 'current: new objects are sealed with it';
  if (!known) return 'NOT IN THE FILE: put it back, its objects cannot be read';
  return objects === 0 ? 'of no use: it can be taken out of the file' : 'needed until retention has dropped its objects';
}
