import { Session, type GlobalOptions, type Io } from '../session.js';
import { description, table } from '../table.js';
import { protection, type ClusterView } from '../view.js';

export const cutName = (cut: { generation: number; epoch: number } | null): string | null => (cut === null ? null : `${cut.generation}-${cut.epoch}`);

/** All clusters in a line each, or one in full. */
export async function status(io: Io, options: GlobalOptions, name?: string): Promise<void> {
  await Session.run(io, options, async (session) => {
    const wanted = name ?? options.cluster;
    if (wanted !== undefined) {
      const view = await session.cluster(wanted);
      session.show(view, () => describeCluster(view));
      return;
    }
    const clusters = await session.clusters();
    const [only] = clusters;
    session.show({ clusters }, () => (only && clusters.length === 1 ? describeCluster(only) : table(clusters.map(row), 'there is no cluster; make one with "virtcft apply -f cluster.yaml"')));
  });
}

export const row = (view: ClusterView): Record<string, string | number | null> => ({
  cluster: view.name, stage: view.stage, protection: protection(view), generation: view.generation, epoch: view.epoch, cut: cutName(view.tip),
  vms: view.spec?.vms.length ?? 0, hosts: view.hosts.filter(({ status: state }) => state === 'admitted').length, recoveries: view.recoveries,
});

export function describeCluster(view: ClusterView): string {
  return description([
    ['cluster', `${view.name} (${view.id})`], ['stage', view.waits_for === null ? view.stage : `${view.stage}: waits for ${view.waits_for}`], ['protection', protection(view)],
    ...(view.halted === null ? [] : [['halted', `${view.halted.reason}: ${view.halted.detail}`] as const]),
    ['generation', view.generation], ['running epoch', view.epoch], ['newest cut', cutName(view.tip)], ['epochs', `${view.epochs.committed} committed, ${view.epochs.aborted} aborted, ${view.open.length} open`],
    ['recoveries', view.cause === null ? view.recoveries : `${view.recoveries}, the last because of ${view.cause.kind}: ${view.cause.detail}`],
    ...(view.pins.length === 0 ? [] : [['pins', view.pins.map(({ name, cut, by }) => `${name}: cut ${cutName(cut) ?? ''}, by ${by}`)] as const]),
    ['alarms', view.alarms.map(({ alarm, detail }) => `${alarm}: ${detail}`)],
    ['hosts', view.hosts.map(({ host, status: state, reason, vms }) => `${host}: ${state}${reason === null ? '' : ` (${reason})`}, ${vms.length === 0 ? 'spare' : vms.join(' ')}`)],
  ]);
}
