import type { DecisionData } from '@virtcft/events';
import type { ClusterState, OpenEpoch } from '../cluster/state.js';
import type { EpochLedger } from './ledger.js';

type Said = { readonly host: string; readonly agent: string; readonly generation: number; readonly epoch: number };

const ofEpoch = (state: ClusterState, open: OpenEpoch) => ({ host, agent, generation, epoch }: Said): boolean =>
  generation === state.generation && epoch === open.epoch && open.members.some((member) => member.host === host && member.agent === agent);

export const failuresOf = (state: ClusterState, ledger: EpochLedger, open: OpenEpoch): EpochLedger['failures'] => ledger.failures.filter(ofEpoch(state, open));

const lateHosts = (state: ClusterState, ledger: EpochLedger, open: OpenEpoch): string[] => {
  const reached = new Set(ledger.reached.filter(ofEpoch(state, open)).map(({ host }) => host));
  return open.members.map(({ host }) => host).filter((host) => !reached.has(host));
};

/** The second phase (R4a): every member stands still and none has given up. Null: not yet, or there is nothing to seal. */
export const decideSeal = (state: ClusterState, ledger: EpochLedger): DecisionData<'epoch.sealed'> | null => {
  const open = state.open.find(({ sealed }) => !sealed);
  if (open === undefined || failuresOf(state, ledger, open).length > 0 || lateHosts(state, ledger, open).length > 0) return null;
  return { generation: state.generation, epoch: open.epoch };
};

/**
 * Who is struck for an epoch that failed at its barrier (R22): those that could not capture; else those that the others waited for in vain.
 * Nobody when all are late: that is the bus or the coordinator, no straggler.
 */
export const missedBarrier = (state: ClusterState, ledger: EpochLedger, open: OpenEpoch): string[] => {
  const failed = failuresOf(state, ledger, open);
  const unable = failed.filter(({ waited }) => !waited).map(({ host }) => host);
  if (unable.length > 0) return [...new Set(unable)].sort();
  const late = open.sealed ? [] : lateHosts(state, ledger, open).filter((host) => !failed.some((failure) => failure.host === host));
  return late.length === open.members.length ? [] : late.sort();
};
