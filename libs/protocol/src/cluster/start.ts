import type { ClusterSpec, DecisionData } from '@virtcft/events';
import { placeFirst } from '../recovery/placement.js';
import { limits } from '../limits.js';
import { admittedHosts, type ClusterState } from './state.js';

export type StartStep =
  | { readonly kind: 'start'; readonly data: DecisionData<'cluster.started'> }
  /** Shown in the status. */
  | { readonly kind: 'wait'; readonly waitsFor: string; readonly until_ms: number | null };

/**
 * VMs too large to be stored whole in their first cut: each is in none before a base of it is stored (R20). Not one whose disks come from a cut (`again`): a recovery
 * before it joined would begin it with its images, and lose what it had written.
 */
export const seededFirst = (spec: ClusterSpec | null, again: boolean): string[] => (spec?.vms ?? [])
  .filter(({ memory_mib, disks = [] }) => memory_mib >= (spec?.policies.seed_from_mib ?? limits.seed_from_mib) && !(again && disks.length > 0))
  .map(({ name }) => name).sort();

/** First start: when every VM has a place and every host of the file is there, or was waited for. `asked_ms`: when the start was asked for. */
export const decideStart = (state: ClusterState, incarnation: string, asked_ms: number, now_ms: number): StartStep => {
  const admitted = new Set(admittedHosts(state).map(({ host }) => host));
  const absent = (state.spec?.hosts ?? []).filter((host) => !admitted.has(host));
  if (admitted.size === 0) return { kind: 'wait', waitsFor: `hosts ${absent.join(', ')}`, until_ms: null };
  const first = placeFirst(state);
  if ('waitsFor' in first) return { kind: 'wait', waitsFor: first.waitsFor, until_ms: null };
  const until_ms = asked_ms + limits.start_grace_ms;
  if (absent.length > 0 && now_ms < until_ms) return { kind: 'wait', waitsFor: `hosts ${absent.join(', ')}`, until_ms };
  // Once there is a cut, its disks are what the guests wrote; a start that nothing was committed after goes back to what that start began with.
  const disks = state.tip ?? state.disks;
  const syncing = seededFirst(state.spec, disks !== null);
  return { kind: 'start', data: { generation: state.highestGeneration + 1, incarnation, epoch: state.epoch + 1, placement: first.placement, disks, ...(syncing.length > 0 ? { syncing } : {}) } };
};
