import type { Bus, StoredDecision } from '@virtcft/bus';
import { AgentId, ClusterId, ClusterSpec, CutRef, HostRegistered, Name, Pin, Placement, RunState } from '@virtcft/events';
import { evolve, initialState, placedOn, type ClusterState } from '@virtcft/protocol';
import { z } from 'zod';

/** A cluster as the coordinator shows it. */
export const ClusterView = z.object({
  id: ClusterId, name: z.string(), stage: z.string(), waits_for: z.string().nullable(), protected: z.boolean(), generation: z.number(), epoch: z.number(),
  open: z.array(z.number()), tip: CutRef.nullable(), basis: CutRef.nullable(), epochs: z.object({ committed: z.number(), aborted: z.number() }), recoveries: z.number(),
  cause: z.looseObject({ kind: z.string(), detail: z.string() }).nullable(), halted: z.object({ reason: z.string(), detail: z.string() }).nullable(), placement: Placement,
  /** By VM; of a VM whose host is silent nothing is known. */
  run_states: z.record(Name, RunState).default({}),
  /** VMs whose time falls behind, against their clock policy. */
  drifting: z.array(Name).default([]),
  /** VMs that are in no cut yet: how much of the base of each is stored, from 0 to 1. */
  syncing: z.record(Name, z.number()).default({}),
  pins: z.array(Pin).default([]),
  hosts: z.array(z.object({ host: Name, number: z.number(), agent: AgentId, status: z.string(), reason: z.string().nullable(), memory_mib: z.number(), vms: z.array(Name) })),
  alarms: z.array(z.object({ alarm: z.string(), detail: z.string() })), spec: ClusterSpec.nullable(),
});
export type ClusterView = z.infer<typeof ClusterView>;

export const HostView = HostRegistered.extend({ alive: z.boolean(), cluster: z.string().nullable(), vms: z.array(Name), free_mib: z.number() });
export type HostView = z.infer<typeof HostView>;

export const CutView = CutRef.extend({ vms: z.number(), time: z.string(), bytes: z.number().optional() });
export type CutView = z.infer<typeof CutView>;

/** The same, folded from the log by this process, for when no coordinator answers: alarms and what it waits for are then not known. */
export function viewOf(id: string, state: ClusterState): ClusterView {
  return {
    id, name: state.spec?.name ?? '', stage: state.stage, waits_for: null, protected: state.protected, generation: state.generation, epoch: state.epoch,
    open: state.open.map(({ epoch }) => epoch), tip: state.tip, basis: state.basis, epochs: state.epochs, recoveries: state.recoveries,
    cause: state.cause, halted: state.halted, placement: state.placement, run_states: {}, drifting: [], pins: Object.values(state.pins), syncing: Object.fromEntries(state.syncing.map((vm) => [vm, 0])), alarms: [], spec: state.spec,
    hosts: Object.values(state.hosts).map(({ host, number, agent, status, reason, memory_mib }) => ({ host, number, agent, status, reason, memory_mib, vms: placedOn(state.placement, host) })),
  };
}

/** Reads the decisions of all clusters to the end of the log. Throws LogMismatch. */
export async function foldLog(bus: Bus, signal: AbortSignal, each: (stored: StoredDecision, state: ClusterState) => void = () => {}): Promise<ClusterView[]> {
  const states = new Map<string, ClusterState>();
  const replayed = new AbortController();
  await bus.followDecisions({ signal: AbortSignal.any([signal, replayed.signal]), caughtUp: () => replayed.abort() }, (stored) => {
    const state = evolve(states.get(stored.cluster) ?? initialState, stored.decision);
    states.set(stored.cluster, state);
    each(stored, state);
  });
  return [...states].map(([id, state]) => viewOf(id, state));
}

/** `syncing` and how far, per VM that is in no cut yet. */
const syncingOf = (view: ClusterView): string => Object.entries(view.syncing).map(([vm, seeded]) => `${vm} is ${syncing(seeded)}`).join(', ');
export const syncing = (seeded: number): string => `syncing ${Math.floor(seeded * 100)} %`;

/** Whether it can be said that nothing of the cluster would be lost now, and if not, why. */
export function protection(view: ClusterView): string {
  if (!view.protected) return 'off';
  if (view.stage !== 'running') return `not now: ${view.stage}`;
  if (view.tip === null && Object.keys(view.syncing).length > 0) return `not yet: ${syncingOf(view)}`;
  if (view.tip === null) return 'not yet: no cut is committed';
  const weaker = view.alarms.map(({ alarm }) => (alarm === 'syncing' ? syncingOf(view) : alarm));
  return weaker.length === 0 ? 'on' : `on, but ${weaker.join(', ')}`;
}
