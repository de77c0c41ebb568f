import type { Decision, Report } from '@virtcft/events';
import { membersOf, type ClusterState, type Stage } from '../cluster/state.js';
import { limits } from '../limits.js';
import { placeRecovery } from './placement.js';

/** What the agents told about the recovery of one generation. */
export interface RecoveryProgress {
  readonly generation: number;
  readonly stage: Stage;
  readonly since_ms: number;
  /** Agents, by id: one life of a host each. */
  readonly loaded: ReadonlySet<string>;
  readonly running: ReadonlySet<string>;
}

export const noProgress: RecoveryProgress = { generation: 0, stage: 'waiting', since_ms: 0, loaded: new Set(), running: new Set() };

/** After a decision: a new generation starts from nothing, a new stage starts its own patience. */
export const noteStage = (progress: RecoveryProgress, state: ClusterState, now_ms: number): RecoveryProgress => {
  if (state.generation > progress.generation) return { ...noProgress, generation: state.generation, stage: state.stage, since_ms: now_ms };
  return state.stage === progress.stage ? progress : { ...progress, stage: state.stage, since_ms: now_ms };
};

/** A report came. One of a newer generation starts its progress: it may overtake the decision. */
export const noteRecovery = (progress: RecoveryProgress, report: Report): RecoveryProgress => {
  if (report.type !== 'recovery.loaded' && report.type !== 'recovery.running') return progress;
  const { agent, generation } = report.data;
  if (generation < progress.generation) return progress;
  const at = generation === progress.generation ? progress : { ...noProgress, generation, stage: progress.stage, since_ms: progress.since_ms };
  if (report.type === 'recovery.loaded') return { ...at, loaded: new Set([...at.loaded, agent]) };
  return { ...at, running: new Set([...at.running, agent]) };
};

export type RecoveryStep =
  | { readonly kind: 'append'; readonly decision: Decision }
  /** A stage took far too long at this host, whatever its heartbeats say: report it as suspected, the recovery goes on without it (R17, R22). */
  | { readonly kind: 'overdue'; readonly host: string; readonly agent: string; readonly stage: 'stop' | 'load' | 'resume'; readonly silent_ms: number }
  | { readonly kind: 'wait'; readonly until_ms: number | null };

const wait = (until_ms: number | null): RecoveryStep => ({ kind: 'wait', until_ms });
const append = (decision: Decision): RecoveryStep => ({ kind: 'append', decision });

const plan = (state: ClusterState): RecoveryStep => {
  const { placement, moves, stuck } = placeRecovery(state);
  if (stuck.length > 0) {
    if (state.stage === 'halted') return wait(null);
    const detail = `no eligible host has room for ${stuck.join(', ')}: add a host, the recovery then goes on by itself`;
    return append({ type: 'cluster.halted', data: { generation: state.generation, reason: 'no-room', detail: detail.slice(0, 500) } });
  }
  const members = membersOf({ ...state, placement }).map(({ host, agent }) => ({ host, agent }));
  return append({ type: 'recovery.planned', data: { generation: state.generation, epoch: state.epoch, placement, members, moves } });
};

/** The failover's next step (R17): raised -> planned -> all loaded -> resumed -> all run -> completed. */
export const decideRecovery = (state: ClusterState, progress: RecoveryProgress, now_ms: number): RecoveryStep => {
  const reported = (set: ReadonlySet<string>, agent: string): boolean => progress.generation === state.generation && set.has(agent);
  const members = membersOf(state);
  const overdue = (late: { host: string; agent: string } | undefined, stage: 'load' | 'resume', patience_ms: number): RecoveryStep => {
    if (late === undefined) return wait(null);
    const until_ms = progress.since_ms + patience_ms;
    if (now_ms < until_ms) return wait(until_ms);
    return { kind: 'overdue', host: late.host, agent: late.agent, stage, silent_ms: patience_ms };
  };
  switch (state.stage) {
    case 'raised':
      return plan(state);
    case 'halted':
      return state.halted?.reason === 'no-room' ? plan(state) : wait(null);
    case 'planned': {
      // VMs move only away from lost lives, and `loaded` implies stopped: so these are all live hosts that ran anything (R17).
      const unloaded = members.find(({ agent }) => !reported(progress.loaded, agent));
      if (unloaded !== undefined) return overdue(unloaded, 'load', limits.load_ms);
      return append({ type: 'recovery.resumed', data: { generation: state.generation } });
    }
    case 'resumed': {
      const silent = members.find(({ agent }) => !reported(progress.running, agent));
      if (silent !== undefined) return overdue(silent, 'resume', limits.resume_ms);
      return append({ type: 'recovery.completed', data: { generation: state.generation } });
    }
    default:
      return wait(null);
  }
};

