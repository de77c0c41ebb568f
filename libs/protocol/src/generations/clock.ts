import type { ClusterState } from '../cluster/state.js';
import { limits } from '../limits.js';

/**
 * By how many milliseconds the guests' clocks go on ahead of the basis (R25): from its barrier to the raise, the same for all VMs of the generation.
 * `barrier_ms`: when the basis' barrier was put into the log, null when the log does not tell. Both times are of wall clocks, perhaps of two machines
 * that disagree: never below zero, and never more than a guest's kernel bears at once.
 */
export const clockAhead_ms = (state: ClusterState, barrier_ms: number | null, now_ms: number): number => {
  if (state.spec?.clock !== 'follow' || barrier_ms === null) return 0;
  return Math.round(Math.min(Math.max(now_ms - barrier_ms, 0), limits.clock_ahead_ms));
};
