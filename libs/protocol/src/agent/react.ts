import type { CutRef, Decision, DecisionData } from '@virtcft/events';
import { notIn } from '../cluster/evolve.js';
import { cutVmsOn, gateOpen, vmsOn, wiring, type AgentState, type Wiring } from './state.js';

/** What the agent's shell is told to do, in order. */
export type AgentOrder =
  /** This life takes part: open the fabric under this number. */
  | { readonly kind: 'join'; readonly number: number }
  /** Wire the fabric and boot these VMs, with the disks of a cut where there was one. */
  | { readonly kind: 'start'; readonly vms: readonly string[]; readonly disks: CutRef | null; readonly wiring: Wiring }
  /** First phase of a two-phase barrier (R4a): stop all VMs, drain, say so, then stand still for the `cut`, `flip` or `give-up` that comes. */
  | { readonly kind: 'reach'; readonly epoch: number; readonly vms: readonly string[] }
  /** The barrier (R4, R5), or its second phase: capture these VMs, the fabric's colour becomes `epoch + 1`. A VM that is in no cut yet runs on (R20). */
  | { readonly kind: 'cut'; readonly epoch: number; readonly vms: readonly string[] }
  /** Of exactly these running VMs a base is to be made (R20); nothing more of any other. */
  | { readonly kind: 'seed'; readonly vms: readonly string[] }
  /** The seal did not come in time (R4a): run on, close `epoch` without a capture, and report that it failed. */
  | { readonly kind: 'give-up'; readonly epoch: number }
  /** Close `epoch` without a capture (R5). */
  | { readonly kind: 'flip'; readonly epoch: number }
  /** `epoch` is committed: its output leaves, layers up to it are folded (R1, R8). */
  | { readonly kind: 'commit'; readonly epoch: number }
  /** Output passes at once (protection is off), or is held. */
  | { readonly kind: 'gate'; readonly open: boolean }
  /** A raise was decided: nothing of the old generation runs or leaves from here on. */
  | { readonly kind: 'stop'; readonly generation: number }
  /**
   * Exactly `vms` and `fresh` stand on this host afterwards: those paused at `basis`, their clocks `ahead_ms` after it (R25), these, which it does not hold, before their
   * first instruction (R20). Everything else of the cluster here is destroyed.
   */
  | { readonly kind: 'load'; readonly basis: CutRef; readonly vms: readonly string[]; readonly fresh: readonly string[]; readonly wiring: Wiring; readonly ahead_ms: number }
  | { readonly kind: 'resume'; readonly generation: number; readonly vms: readonly string[] }
  /** The cluster was stopped: nothing of it stays here. */
  | { readonly kind: 'empty' }
  /** This life is over: destroy everything and come back empty, as another (R20). */
  | { readonly kind: 'end'; readonly reason: string };

export interface Reaction {
  readonly state: AgentState;
  readonly orders: readonly AgentOrder[];
}

/** Folds a decision and says what this host does about it. Pure. */
export function react(before: AgentState, decision: Decision): Reaction {
  if (before.phase === 'over') return { state: before, orders: [] };
  const { state, orders } = respond(before, decision);
  return { state, orders: state.member ? orders : [] };
}

/** A frame of colour `colour` was heard: its sender has closed all epochs below, so they are closed here now (R5). */
export function hearColour(state: AgentState, colour: number): Reaction {
  const epoch = colour - 1;
  if (state.phase !== 'running' || epoch <= state.closed) return { state, orders: [] };
  const next = closedAt(state, epoch);
  // Its sender knows of a VM in the cuts, and may know more than the bus has told here.
  const gate: AgentOrder[] = gateOpen(state) && !gateOpen(next) ? [{ kind: 'gate', open: false }] : [];
  return { state: next, orders: [closing(state, epoch), ...gate] };
}

/** This host has stood at the barrier of `epoch` for as long as it may (R4a): whoever else is late, its guests run on. */
export function sealOverdue(state: AgentState, epoch: number): Reaction {
  if (state.phase !== 'running' || state.standing !== epoch) return { state, orders: [] };
  return { state: closedAt(state, epoch), orders: [{ kind: 'give-up', epoch }] };
}

function respond(state: AgentState, decision: Decision): Reaction {
  switch (decision.type) {
    case 'cluster.created': return quiet({ ...state, spec: decision.data.spec, protected: decision.data.spec.protect });
    case 'cluster.changed': return quiet({ ...state, spec: decision.data.spec });
    case 'cluster.rebuilt':
      return quiet({ ...state, spec: decision.data.spec, protected: decision.data.protected, generation: decision.data.generation, incarnation: decision.data.incarnation ?? '' });
    case 'host.admitted': return admitted(state, decision.data);
    case 'host.lost': return lost(state, [decision.data], decision.data.reason);
    case 'cluster.started': return started(state, decision.data);
    case 'cluster.stopped': return { state: { ...state, phase: 'idle', placement: {}, syncing: [], standing: null }, orders: [{ kind: 'empty' }] };
    case 'protection.enabled': {
      const next = { ...state, protected: true };
      return { state: next, orders: [{ kind: 'gate', open: gateOpen(next) }, ...seeding(next)] };
    }
    case 'vm.joined': return joined(state, decision.data);
    case 'protection.disabled': return unprotected(state);
    case 'epoch.opened': return opened(state, decision.data);
    case 'epoch.sealed': return sealed(state, decision.data);
    case 'epoch.aborted': return close(state, decision.data.generation, decision.data.epoch);
    case 'epoch.committed':
      return { state, orders: decision.data.generation === state.generation ? [{ kind: 'commit', epoch: decision.data.epoch }] : [] };
    case 'generation.raising': return raising(state, decision.data);
    case 'generation.raised':
      // One of a number that was overtaken is void, as it is for the fold.
      if (decision.data.generation <= state.generation) return quiet(state);
      return quiet({
        ...state, generation: decision.data.generation, incarnation: decision.data.incarnation, basis: decision.data.basis, ahead_ms: decision.data.ahead_ms,
        syncing: notIn(decision.data.vms, state.placement),
      });
    case 'recovery.planned': return planned(state, decision.data);
    case 'recovery.resumed': return resumed(state, decision.data.generation);
    case 'recovery.completed': case 'cluster.data-lost': case 'cluster.rewound': case 'cluster.halted': case 'cut.pinned': case 'cut.unpinned': return quiet(state);
  }
}

const quiet = (state: AgentState): Reaction => ({ state, orders: [] });

function admitted(state: AgentState, data: DecisionData<'host.admitted'>): Reaction {
  const hosts = { ...state.hosts, [data.host]: { agent: data.agent, number: data.number, tunnel: data.tunnel } };
  if (data.host !== state.me.host) return quiet({ ...state, hosts });
  if (data.agent === state.me.agent) return { state: { ...state, hosts, member: true }, orders: [{ kind: 'join', number: data.number }] };
  // Another life of this host was admitted: when this one had been, it is over.
  return state.member ? over({ ...state, hosts }, 'another life of this host was admitted') : quiet({ ...state, hosts });
}

function lost(state: AgentState, gone: readonly { host: string; agent: string }[], reason: string): Reaction {
  const hosts = { ...state.hosts };
  for (const each of gone) if (hosts[each.host]?.agent === each.agent) delete hosts[each.host];
  const mine = gone.some((each) => each.host === state.me.host && each.agent === state.me.agent);
  return mine ? over({ ...state, hosts }, reason) : quiet({ ...state, hosts });
}

function over(state: AgentState, reason: string): Reaction {
  return { state: { ...state, phase: 'over' }, orders: [{ kind: 'end', reason }] };
}

function started(state: AgentState, data: DecisionData<'cluster.started'>): Reaction {
  const next: AgentState = {
    ...state, phase: 'running', generation: data.generation, incarnation: data.incarnation, placement: data.placement, syncing: data.syncing ?? [], basis: null,
    closed: data.epoch - 1, begun: data.epoch - 1,
  };
  return {
    state: next,
    orders: [{ kind: 'start', vms: vmsOn(next, next.me.host), disks: data.disks, wiring: wiring(next, data.epoch) }, { kind: 'gate', open: gateOpen(next) }, ...seeding(next)],
  };
}

/** What of this host's VMs is to be seeded now: nothing is said where nothing is syncing. */
function seeding(state: AgentState): AgentOrder[] {
  const vms = vmsOn(state, state.me.host).filter((vm) => state.syncing.includes(vm));
  return vms.length === 0 || state.phase !== 'running' ? [] : [{ kind: 'seed', vms: state.protected ? vms : [] }];
}

/** From the next barrier on the VM is in the cuts; with the first that is, output begins to wait for commits. */
function joined(state: AgentState, { generation, vm }: DecisionData<'vm.joined'>): Reaction {
  if (generation !== state.generation || !state.syncing.includes(vm)) return quiet(state);
  const next: AgentState = { ...state, syncing: state.syncing.filter((each) => each !== vm) };
  return { state: next, orders: gateOpen(next) === gateOpen(state) ? [] : [{ kind: 'gate', open: gateOpen(next) }] };
}

/** Closes `epoch`: with a capture where this host has VMs that are in the cuts. */
function closing(state: AgentState, epoch: number): AgentOrder {
  const vms = cutVmsOn(state, state.me.host);
  return vms.length > 0 ? { kind: 'cut', epoch, vms } : { kind: 'flip', epoch };
}

function opened(state: AgentState, data: DecisionData<'epoch.opened'>): Reaction {
  if (data.generation !== state.generation || state.phase !== 'running' || data.epoch <= state.closed || data.epoch === state.standing) return quiet(state);
  if (vmsOn(state, state.me.host).length === 0) return quiet({ ...state, closed: data.epoch });
  const vms = data.members.find((member) => member.host === state.me.host && member.agent === state.me.agent)?.vms ?? [];
  if (data.barrier !== 'two-phase') return { state: closedAt(state, data.epoch), orders: [vms.length > 0 ? { kind: 'cut', epoch: data.epoch, vms } : { kind: 'flip', epoch: data.epoch }] };
  return vms.length > 0 ? { state: { ...state, standing: data.epoch }, orders: [{ kind: 'reach', epoch: data.epoch, vms }] } : quiet(state);
}

function sealed(state: AgentState, { generation, epoch }: DecisionData<'epoch.sealed'>): Reaction {
  if (state.standing !== epoch) return close(state, generation, epoch);
  if (generation !== state.generation || state.phase !== 'running') return quiet(state);
  return { state: closedAt(state, epoch), orders: [closing(state, epoch)] };
}

const closedAt = (state: AgentState, epoch: number): AgentState => ({ ...state, closed: epoch, standing: null });

/** What was open is forgotten, so nothing will seal what this host stands for. */
function unprotected(state: AgentState): Reaction {
  const { standing } = state;
  const next: AgentState = { ...(standing === null ? state : closedAt(state, standing)), protected: false };
  return { state: next, orders: [...(standing === null ? [] : [{ kind: 'flip' as const, epoch: standing }]), { kind: 'gate', open: true }, ...seeding(next)] };
}

function close(state: AgentState, generation: number, epoch: number): Reaction {
  if (generation !== state.generation || state.phase !== 'running' || epoch <= state.closed) return quiet(state);
  return { state: closedAt(state, epoch), orders: vmsOn(state, state.me.host).length === 0 ? [] : [{ kind: 'flip', epoch }] };
}

function raising(state: AgentState, data: DecisionData<'generation.raising'>): Reaction {
  if (data.generation <= state.generation) return quiet(state);
  const after = lost(state, data.cause.lost, `the cluster goes on without this life of the host: ${data.cause.detail}`);
  if (after.state.phase === 'over' || state.phase === 'idle' && Object.keys(state.placement).length === 0) return after;
  return { state: { ...after.state, phase: 'stopped', standing: null }, orders: [{ kind: 'stop', generation: data.generation }] };
}

function planned(state: AgentState, data: DecisionData<'recovery.planned'>): Reaction {
  if (data.generation !== state.generation || state.basis === null) return quiet(state);
  const next: AgentState = { ...state, phase: 'loading', placement: data.placement, closed: data.epoch - 1 };
  const taking = data.members.some((member) => member.host === state.me.host && member.agent === state.me.agent);
  const mine = taking ? vmsOn(next, next.me.host) : [];
  const holds = (vm: string): boolean => !next.syncing.includes(vm);
  return {
    state: next,
    orders: [
      { kind: 'load', basis: state.basis, vms: mine.filter(holds), fresh: mine.filter((vm) => !holds(vm)), wiring: wiring(next, data.epoch), ahead_ms: state.ahead_ms },
      { kind: 'gate', open: gateOpen(next) },
    ],
  };
}

function resumed(state: AgentState, generation: number): Reaction {
  if (generation !== state.generation || state.phase !== 'loading') return quiet(state);
  const next: AgentState = { ...state, phase: 'running' };
  return { state: next, orders: [{ kind: 'resume', generation, vms: vmsOn(state, state.me.host) }, ...seeding(next)] };
}
