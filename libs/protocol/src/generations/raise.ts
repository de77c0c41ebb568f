import type { CutRef, DecisionData, Report } from '@virtcft/events';
import { placedOn, type Cause, type ClusterState } from '../cluster/state.js';

export type Raising = DecisionData<'generation.raising'>;

const clip = (text: string): string => text.slice(0, 500);

/** Step 1 of a raise (R16). A time travel that was asked for and is not done yet is not forgotten by the next raise. */
export const raise = (state: ClusterState, cause: Cause): Raising => ({
  generation: state.highestGeneration + 1,
  cause: { ...cause, detail: clip(cause.detail), cut: cause.cut ?? state.raising?.cause.cut ?? null },
});

/** Time travel, asked for and confirmed by `by`. Null where there is nothing to rewind, or a recovery is under way. */
export const rewind = (state: ClusterState, cut: CutRef, by: string): Raising | null =>
  (state.stage !== 'running' && state.stage !== 'halted' ? null : raise(state, { kind: 'rewind', lost: [], vms: [], detail: by, cut }));

export type FailureReaction =
  | { readonly kind: 'raise'; readonly data: Raising }
  | { readonly kind: 'lose'; readonly data: DecisionData<'host.lost'> }
  /** Says why nothing is done, for the log. */
  | { readonly kind: 'ignore'; readonly why: string };

const ignore = (why: string): FailureReaction => ({ kind: 'ignore', why });

/** One life of a host is over. With VMs of a started cluster that is a recovery, else it only leaves. */
export const hostEnded = (state: ClusterState, host: string, agent: string, reason: string): FailureReaction => {
  const known = state.hosts[host];
  if (known === undefined || known.agent !== agent || known.status === 'lost') return ignore('this life of the host takes no part');
  const vms = placedOn(state.placement, host);
  const started = state.stage !== 'waiting' && state.stage !== 'stopped';
  if (started && vms.length > 0 && !state.protected) return ignore('protection is off: no automatic restore (R11)');
  // A halted cluster waits for a host or an operator; another raise would only halt again.
  if (!started || vms.length === 0 || state.stage === 'halted') return { kind: 'lose', data: { host, agent, reason: clip(reason) } };
  return { kind: 'raise', data: raise(state, { kind: 'host-lost', lost: [{ host, agent }], vms, detail: reason, cut: null }) };
};

/** What a report of a failure leads to. A report names a generation and is void in another (R21). */
export const reactTo = (state: ClusterState, report: Report): FailureReaction => {
  switch (report.type) {
    case 'host.suspected': {
      const { host, agent, generation, silent_ms, witnesses } = report.data;
      // A cluster that was never started has no generation; reports count from 1.
      if (generation !== Math.max(1, state.generation)) return ignore('suspected in another generation');
      const seen = witnesses.length === 0 ? '' : `, confirmed by ${witnesses.join(', ')}`;
      return hostEnded(state, host, agent, `silent for ${Math.round(silent_ms)} ms${seen}`);
    }
    case 'vm.failed': {
      const { host, agent, generation, vm, reason } = report.data;
      if (generation !== state.generation) return ignore('of another generation');
      if (state.hosts[host]?.agent !== agent || state.placement[vm] !== host) return ignore('not where this VM runs');
      if (!state.protected) return ignore('protection is off: no automatic restore (R11)');
      if (!['running', 'planned', 'resumed'].includes(state.stage)) return ignore(`the cluster is ${state.stage}`);
      return { kind: 'raise', data: raise(state, { kind: 'vm-failed', lost: [], vms: [vm], detail: `${vm} on ${host}: ${reason}`, cut: null }) };
    }
    case 'recovery.failed': {
      const { host, agent, generation, stage, reason } = report.data;
      if (generation !== state.generation) return ignore('of another generation');
      if (state.hosts[host]?.agent !== agent) return ignore('not a host of this cluster');
      if (!['raised', 'planned', 'resumed'].includes(state.stage)) return ignore(`the cluster is ${state.stage}`);
      return { kind: 'raise', data: raise(state, { kind: 'recovery-failed', lost: [], vms: [], detail: `${host} at ${stage}: ${reason}`, cut: null }) };
    }
    default:
      return ignore('no failure');
  }
};
