import type { Decision, DecisionData, HostRegistered } from '@virtcft/events';
import { admittedHosts, placedOn, type ClusterState } from '../cluster/state.js';
import { hostEnded } from '../generations/raise.js';

/** A host's newest offer, and whether its agent was heard lately: the offer outlives the host. */
export interface Offer {
  readonly registration: HostRegistered;
  readonly alive: boolean;
}

/** A number is kept when the host returns; a new host takes the lowest free one. */
const numberOf = (state: ClusterState, host: string): number | null => {
  const known = state.hosts[host];
  if (known !== undefined) return known.number;
  const used = new Set(Object.values(state.hosts).map(({ number }) => number));
  for (let number = 0; number <= 255; number++) if (!used.has(number)) return number;
  return null;
};

const admission = (state: ClusterState, { host, agent, tunnel, identity, memory_mib, vcpus }: HostRegistered): DecisionData<'host.admitted'> | null => {
  const number = numberOf(state, host);
  return number === null ? null : { host, number, agent, tunnel, identity, memory_mib, vcpus };
};

/**
 * The next decision that the registrations ask for, or null. A new agent on an admitted host means that its old life is over: a recovery when it
 * had VMs. An agent that was declared lost comes back only as another life (R20).
 */
export const decideMembership = (state: ClusterState, offers: readonly Offer[]): Decision | null => {
  if (state.spec === null) return null;
  const wanted = new Set(state.spec.hosts);
  for (const { host, agent } of admittedHosts(state)) {
    if (!wanted.has(host) && placedOn(state.placement, host).length === 0) return { type: 'host.lost', data: { host, agent, reason: 'the cluster file names it no more' } };
  }
  for (const { registration, alive } of offers) {
    const { host, agent } = registration;
    const known = state.hosts[host];
    if (!wanted.has(host) || !alive || known?.agent === agent) continue;
    if (known?.status === 'admitted') {
      const ended = hostEnded(state, host, known.agent, 'its agent started again');
      if (ended.kind === 'raise') return { type: 'generation.raising', data: ended.data };
      if (ended.kind === 'lose') return { type: 'host.lost', data: ended.data };
      continue;
    }
    const data = admission(state, registration);
    if (data !== null) return { type: 'host.admitted', data };
  }
  return null;
};
