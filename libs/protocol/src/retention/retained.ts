import type { ClusterSpec } from '@virtcft/events';
import type { ClusterState } from '../cluster/state.js';

export type Retention = NonNullable<ClusterSpec['retention']>;

/** A committed cut as the log tells it; `time_ms`: its commit, since 1970. */
export interface CommittedCut { readonly hash: string; readonly time_ms: number }

const periods = [['minutes', 60_000], ['hours', 3_600_000], ['days', 86_400_000]] as const;

/**
 * Which cuts are kept, by hash, and why. Without a policy all are. The newest `last`; the newest of each of the last so many minutes, hours and
 * days (UTC) that have a cut, so that a cluster that stands still loses nothing by it; and always what is pinned, and the newest.
 */
export const retainedCuts = (cuts: readonly CommittedCut[], policy: Retention | undefined, pins: ReadonlyMap<string, string>): ReadonlyMap<string, string> => {
  const kept = new Map<string, string>();
  const keep = (cut: CommittedCut, why: string): void => void (kept.has(cut.hash) || kept.set(cut.hash, why));
  // The log's order is the truth; clocks of several coordinators may disagree.
  const newestFirst = [...cuts].reverse();
  newestFirst.forEach((cut, at) => {
    const pin = pins.get(cut.hash);
    if (pin !== undefined) keep(cut, pin);
    if (policy === undefined) keep(cut, 'no retention is set');
    else if (at < policy.last) keep(cut, `of the last ${policy.last}`);
  });
  if (newestFirst[0] !== undefined) keep(newestFirst[0], 'the newest');
  if (policy === undefined) return kept;
  for (const [name, period_ms] of periods) {
    const filled = new Set<number>();
    for (const cut of newestFirst) {
      const slot = Math.floor(cut.time_ms / period_ms);
      if (filled.has(slot)) continue;
      if (filled.size >= policy[name]) break;
      filled.add(slot);
      keep(cut, `newest of one of the last ${policy[name]} ${name}`);
    }
  }
  return kept;
};

/** Cuts that the cluster itself needs, and why: no policy lets them go. */
export const pinsOf = (state: ClusterState): Map<string, string> => {
  const pins = new Map<string, string>();
  const pin = (cut: { readonly hash: string } | null | undefined, why: string): void => void (cut && pins.set(cut.hash, why));
  for (const { name, cut, by } of Object.values(state.pins)) pin(cut, `pin ${name} of ${by}`);
  pin(state.disks, 'its disks are those that the VMs started with');
  pin(state.basis, 'the basis of this generation');
  pin(state.raising?.cause.cut, 'the cluster is being taken back to it');
  pin(state.tip, 'the tip');
  return pins;
};
