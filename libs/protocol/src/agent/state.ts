import type { AgentId, ClusterSpec, CutRef, Placement } from '@virtcft/events';
import type { z } from 'zod';

export interface AdmittedHost {
  readonly agent: z.infer<typeof AgentId>;
  readonly number: number;
  readonly tunnel: { readonly address: string; readonly port: number };
}

/**
 * idle: nothing of the cluster runs here. running: VMs run, epochs are cut. stopped: a raise was seen, VMs stand still.
 * loading: the plan is being carried out; VMs are paused until `recovery.resumed`. over: this life of the agent has ended.
 */
export type AgentPhase = 'idle' | 'running' | 'stopped' | 'loading' | 'over';

/** What one life of a host agent knows of one cluster: a fold of its decisions, and how far this host itself has cut. */
export interface AgentState {
  readonly me: { readonly host: string; readonly agent: string };
  /** This life was admitted; before that decisions are folded and nothing is done. */
  readonly member: boolean;
  readonly phase: AgentPhase;
  readonly spec: ClusterSpec | null;
  readonly hosts: Readonly<Record<string, AdmittedHost>>;
  readonly generation: number;
  readonly incarnation: string;
  readonly basis: CutRef | null;
  /** By how much the clocks of this generation's guests are ahead of the basis (R25). */
  readonly ahead_ms: number;
  readonly placement: Placement;
  /** VMs that are in no cut (R20), as in the cluster's fold. */
  readonly syncing: readonly string[];
  readonly protected: boolean;
  /** The highest epoch closed on this host; the one that runs is `closed + 1`. */
  readonly closed: number;
  /** The one that was closed when this generation's VMs began. */
  readonly begun: number;
  /** The epoch at whose two-phase barrier this host stands, or is ordered to (R4a). */
  readonly standing: number | null;
}

export function newAgent(me: { host: string; agent: string }): AgentState {
  return {
    me, member: false, phase: 'idle', spec: null, hosts: {}, generation: 0, incarnation: '', basis: null, ahead_ms: 0, placement: {}, syncing: [], protected: false, closed: 0, begun: 0, standing: null,
  };
}

export function vmsOn(state: AgentState, host: string): string[] {
  return Object.entries(state.placement).filter(([, on]) => on === host).map(([vm]) => vm).sort();
}

/** Those on `host` that are in the cuts. */
export const cutVmsOn = (state: AgentState, host: string): string[] => vmsOn(state, host).filter((vm) => !state.syncing.includes(vm));

/** Output passes: protection is off, or no VM is in any cut yet and no epoch was closed (R20). Else it waits for its commit (R8). */
export const gateOpen = (state: AgentState): boolean =>
  !state.protected || (state.basis === null && state.closed === state.begun && Object.keys(state.placement).every((vm) => state.syncing.includes(vm)));

/** How the fabric is wired while epoch `colour` runs. Only hosts with VMs take part in cuts, so only they are peers, each in its admitted life. */
export interface Wiring {
  readonly generation: number;
  readonly incarnation: string;
  readonly colour: number;
  readonly peers: readonly { readonly host: number; readonly life: string; readonly address: string; readonly port: number }[];
  readonly macs: readonly { readonly mac: string; readonly host: number }[];
  /** As the cluster file says now: it may have changed while the cluster was stopped. */
  readonly mtu: number | null;
  readonly heldOutputBytes: number | null;
}

export function wiring(state: AgentState, colour: number): Wiring {
  const taking = vmsOn(state, state.me.host).length === 0 ? [] : [...new Set(Object.values(state.placement))].sort();
  const peers = taking.flatMap((host) => {
    const admitted = state.hosts[host];
    return admitted === undefined || host === state.me.host ? [] : [{ host: admitted.number, life: admitted.agent, ...admitted.tunnel }];
  });
  const macs = (state.spec?.vms ?? []).flatMap((vm) => {
    const host = state.hosts[state.placement[vm.name] ?? ''];
    return host === undefined ? [] : [{ mac: vm.mac, host: host.number }];
  });
  return { generation: state.generation, incarnation: state.incarnation, colour, peers, macs, mtu: state.spec?.mtu ?? null, heldOutputBytes: state.spec?.held_output_bytes ?? null };
}
