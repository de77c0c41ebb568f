import { Pin } from '@virtcft/events';
import { z } from 'zod';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { parseCut } from './restore.js';
import { cutName } from './status.js';

/** Holds a cut against garbage collection until `unpin`. */
export async function pin(io: Io, options: GlobalOptions & { readonly cut: string }, name: string): Promise<void> {
  const cut = parseCut(options.cut);
  await Session.run(io, options, async (session) => {
    const view = await session.cluster();
    const made = await session.ask('coordinator', 'pin', { cluster: view.name, name, ...cut, by: session.by }, Pin, 30_000);
    session.show({ cluster: view.name, ...made }, () => `pin ${made.name} holds cut ${cutName(made.cut) ?? ''} of cluster ${view.name}\n`);
  });
}

export async function unpin(io: Io, options: GlobalOptions, name: string): Promise<void> {
  await Session.run(io, options, async (session) => {
    const view = await session.cluster();
    const gone = await session.ask('coordinator', 'unpin', { cluster: view.name, name, by: session.by }, z.object({ name: z.string() }));
    session.show({ cluster: view.name, ...gone }, () => `pin ${gone.name} of cluster ${view.name} is gone; what it held is garbage when no retention keeps it\n`);
  });
}
