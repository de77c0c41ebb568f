import type { Decision, DecisionData, DecisionType, Placement } from '@virtcft/events';
import type { ClusterState, HostState } from './state.js';

type Evolvers = { [T in DecisionType]: (state: ClusterState, data: DecisionData<T>) => ClusterState | null };

const loseHosts = (hosts: ClusterState['hosts'], lost: readonly { host: string; agent: string }[], reason: string): ClusterState['hosts'] => {
  const next: Record<string, HostState> = { ...hosts };
  for (const { host, agent } of lost) {
    const known = next[host];
    if (known !== undefined && known.agent === agent) next[host] = { ...known, status: 'lost', reason };
  }
  return next;
};

/** VMs that a basis does not hold: they begin anew, and are brought into the cuts as at a start (R20). */
export const notIn = (vms: readonly string[] | undefined, placement: Placement): string[] =>
  (vms === undefined ? [] : Object.keys(placement).filter((vm) => !vms.includes(vm)).sort());

/** Per decision: the next state, or null when the decision is void where it stands (an old generation, an epoch out of order). */
const evolvers: Evolvers = {
  'cluster.created': (state, { log, spec }) => (state.spec !== null ? null : { ...state, log, spec, protected: spec.protect }),
  'cluster.changed': (state, { spec }) => {
    if (state.spec === null) return null;
    // A stopped cluster whose file is applied again waits for its start.
    return state.stage === 'stopped' ? { ...state, spec, stage: 'waiting', protected: spec.protect } : { ...state, spec };
  },
  'cluster.rebuilt': (state, { log, spec, protected: on, stopped, definition, pins, generation, incarnation, highest, tip, placement, epoch, disks }) => {
    if (state.spec !== null) return null;
    return {
      ...state, log, spec, definition, pins: Object.fromEntries(pins.map((pin) => [pin.name, pin])), protected: on, generation, incarnation, highestGeneration: Math.max(generation, highest),
      stage: stopped ? 'stopped' : tip === null ? 'waiting' : 'rebuilt', tip, disks, placement: stopped ? {} : placement, epoch, outrun: !on && generation > 0,
    };
  },
  'cut.pinned': (state, { pin }) => (state.spec === null ? null : { ...state, pins: { ...state.pins, [pin.name]: pin } }),
  'cut.unpinned': (state, { name }) => (state.pins[name] === undefined ? null : { ...state, pins: Object.fromEntries(Object.entries(state.pins).filter(([each]) => each !== name)) }),
  'host.admitted': (state, data) => ({ ...state, hosts: { ...state.hosts, [data.host]: { ...data, status: 'admitted', reason: null } } }),
  'host.lost': (state, data) => ({ ...state, hosts: loseHosts(state.hosts, [data], data.reason) }),
  'cluster.started': (state, { generation, incarnation, epoch, placement, disks, syncing = [] }) => {
    if (state.stage !== 'waiting' && state.stage !== 'stopped') return null;
    if (generation <= state.highestGeneration) return null;
    return {
      ...state, stage: 'running', generation, highestGeneration: generation, incarnation, epoch, placement, syncing, open: [], tip: null, disks, basis: null,
      attempts: 0, outrun: !state.protected, strikes: {}, raising: null, plan: null, halted: null,
    };
  },
  'cluster.stopped': (state) => ({ ...state, stage: 'stopped', placement: {}, syncing: [], open: [], raising: null, plan: null, halted: null, strikes: {} }),
  'protection.enabled': (state) => ({ ...state, protected: true, strikes: {} }),
  'protection.disabled': (state) => ({ ...state, protected: false, outrun: state.generation > 0, open: [], strikes: {} }),
  'vm.joined': (state, { generation, vm }) => {
    if (state.stage !== 'running' || generation !== state.generation || !state.syncing.includes(vm)) return null;
    return { ...state, syncing: state.syncing.filter((each) => each !== vm) };
  },
  'epoch.opened': (state, { generation, epoch, members, barrier }) => {
    if (state.stage !== 'running' || generation !== state.generation || epoch < state.epoch) return null;
    return { ...state, epoch: epoch + 1, open: [...state.open, { epoch, members, sealed: barrier !== 'two-phase' }] };
  },
  'epoch.sealed': (state, { generation, epoch }) => {
    if (state.stage !== 'running' || generation !== state.generation) return null;
    const waits = state.open.some((open) => open.epoch === epoch && !open.sealed);
    return waits ? { ...state, open: state.open.map((open) => (open.epoch === epoch ? { ...open, sealed: true } : open)) } : null;
  },
  'epoch.committed': (state, { generation, epoch, cut, previous }) => {
    if (state.stage !== 'running' || generation !== state.generation || state.open[0]?.epoch !== epoch) return null;
    if (previous !== (state.tip?.hash ?? null)) return null;
    return {
      ...state, open: state.open.slice(1), tip: cut, basis: null, attempts: 0, outrun: false, strikes: {},
      epochs: { ...state.epochs, committed: state.epochs.committed + 1 },
    };
  },
  'epoch.aborted': (state, { generation, epoch, missing }) => {
    if (state.stage !== 'running' || generation !== state.generation || state.open[0]?.epoch !== epoch) return null;
    const strikes = Object.fromEntries(missing.map((host) => [host, (state.strikes[host] ?? 0) + 1]));
    return { ...state, open: state.open.slice(1), strikes, epochs: { ...state.epochs, aborted: state.epochs.aborted + 1 } };
  },
  'generation.raising': (state, { generation, cause }) => {
    if (state.generation === 0 || state.stage === 'stopped' || generation <= state.highestGeneration) return null;
    return {
      ...state, stage: 'raising', highestGeneration: generation, open: [], strikes: {}, plan: null, halted: null,
      hosts: loseHosts(state.hosts, cause.lost, cause.detail === '' ? cause.kind : cause.detail),
      raising: { generation, cause, rewound: cause.cut !== null && cause.cut.hash === state.raising?.cause.cut?.hash && state.raising.rewound, lossDecided: false },
    };
  },
  'cluster.rewound': (state) => (state.raising === null ? null : { ...state, raising: { ...state.raising, rewound: true } }),
  'cluster.data-lost': (state) => (state.raising === null ? null : { ...state, raising: { ...state.raising, lossDecided: true } }),
  'generation.raised': (state, { generation, incarnation, basis, vms }) => {
    if (state.raising === null || state.raising.generation !== generation) return null;
    const again = basis.hash === state.tip?.hash && state.attempts > 0;
    return {
      ...state, stage: 'raised', generation, incarnation, tip: basis, basis, attempts: again ? state.attempts + 1 : 1, raising: null,
      syncing: notIn(vms, state.placement),
      outrun: !state.protected, cause: state.raising.cause, halted: null, epoch: Math.max(state.epoch, basis.epoch + 1),
    };
  },
  'recovery.planned': (state, { generation, epoch, placement, members, moves }) => {
    const waits = state.stage === 'raised' || (state.stage === 'halted' && state.halted?.reason === 'no-room');
    if (!waits || generation !== state.generation || epoch < state.epoch) return null;
    return { ...state, stage: 'planned', epoch, placement, plan: { members, moves }, halted: null };
  },
  'recovery.resumed': (state, { generation }) => (state.stage !== 'planned' || generation !== state.generation ? null : { ...state, stage: 'resumed' }),
  'recovery.completed': (state, { generation }) => {
    if (state.stage !== 'resumed' || generation !== state.generation) return null;
    return { ...state, stage: 'running', plan: null, recoveries: state.recoveries + 1 };
  },
  'cluster.halted': (state, { generation, reason, detail }) => {
    if (state.stage === 'stopped' || generation !== (state.raising?.generation ?? state.generation)) return null;
    return { ...state, stage: 'halted', open: [], halted: { reason, detail } };
  },
};

/** Whether the store's definition is out of date by it. */
const redefined = (before: ClusterState, after: ClusterState): boolean =>
  before.spec !== after.spec || before.protected !== after.protected || before.pins !== after.pins || (before.stage === 'stopped') !== (after.stage === 'stopped');

const apply = <T extends DecisionType>(state: ClusterState, type: T, data: DecisionData<T>): ClusterState | null => evolvers[type](state, data);

/** True when the decision changes nothing where it stands in the log: whoever acts on decisions skips it too. */
export const isVoid = (state: ClusterState, decision: Decision): boolean => apply(state, decision.type, decision.data) === null;

/** The state after one more decision. Total: a void decision leaves the state as it is. */
export const evolve = (state: ClusterState, decision: Decision): ClusterState => {
  const next = apply(state, decision.type, decision.data);
  if (next === null) return state;
  return redefined(state, next) ? { ...next, definition: next.definition + 1 } : next;
};

export const fold = (decisions: Iterable<Decision>, from: ClusterState): ClusterState => {
  let state = from;
  for (const decision of decisions) state = evolve(state, decision);
  return state;
};
