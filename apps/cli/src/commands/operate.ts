import { CliError, exit } from '../exit.js';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { ClusterView, protection } from '../view.js';

export type Operation = 'protect' | 'unprotect' | 'stop';

/** Verbs that change a cluster and answer with how it then is. Stopping ends all its VMs, so it must be said twice. */
export async function operate(io: Io, options: GlobalOptions & { readonly yes?: boolean }, operation: Operation, name?: string): Promise<void> {
  await Session.run(io, options, async (session) => {
    const cluster = await session.cluster(name ?? options.cluster);
    if (operation === 'stop' && !options.yes) {
      throw new CliError(exit.refused, `stopping cluster ${cluster.name} ends its ${cluster.spec?.vms.length ?? 0} VMs`, 'say --yes to do it');
    }
    const view = await session.ask('coordinator', operation, { cluster: cluster.name, by: session.by }, ClusterView, 30_000);
    session.show(view, () => `cluster ${view.name}: ${view.stage}, protection ${protection(view)}\n`);
  });
}
