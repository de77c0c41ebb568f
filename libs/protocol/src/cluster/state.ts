import type { ClusterSpec, CutRef, DecisionData, Pin, Placement } from '@virtcft/events';

export type Identity = DecisionData<'host.admitted'>['identity'];
export type Cause = DecisionData<'generation.raising'>['cause'];
export type Member = DecisionData<'epoch.opened'>['members'][number];
export type HaltReason = DecisionData<'cluster.halted'>['reason'];

export interface HostState {
  readonly host: string;
  readonly number: number;
  readonly agent: string;
  readonly tunnel: { readonly address: string; readonly port: number };
  readonly identity: Identity;
  readonly memory_mib: number;
  readonly vcpus: number;
  readonly status: 'admitted' | 'lost';
  /** Why it is lost. */
  readonly reason: string | null;
}

/** An epoch between its barrier and its commit or abort. */
export interface OpenEpoch {
  readonly epoch: number;
  readonly members: readonly Member[];
  /** Nothing stands still for it any more: its barrier is coloured, or its second phase was decided (R4a). */
  readonly sealed: boolean;
}

/**
 * waiting: created, not started. running: epochs may open. raising -> raised -> planned -> resumed -> running is a recovery.
 * halted: waits for an operator or a host. stopped: no VM runs. rebuilt: the log was made anew, its hosts are waited for before the raise.
 */
export type Stage = 'waiting' | 'rebuilt' | 'running' | 'raising' | 'raised' | 'planned' | 'resumed' | 'halted' | 'stopped';

/** What the decision log says about one cluster; a fold of it and of nothing else. */
export interface ClusterState {
  /** Incarnation of the log; null before `cluster.created`. */
  readonly log: string | null;
  readonly spec: ClusterSpec | null;
  /** Version of what the store must hold to make this log anew: grows with every change of it (`definitionOf`). */
  readonly definition: number;
  /** By name. */
  readonly pins: Readonly<Record<string, Pin>>;
  readonly stage: Stage;
  readonly protected: boolean;
  readonly hosts: Readonly<Record<string, HostState>>;
  /** The generation that runs or is being restored; 0 before the first start. */
  readonly generation: number;
  readonly incarnation: string | null;
  /** Highest number any raise asked for: the next takes one more. */
  readonly highestGeneration: number;
  readonly placement: Placement;
  /** VMs that run and are in no cut yet (R20): a base of them is being made. A recovery begins them anew. */
  readonly syncing: readonly string[];
  /** The running epoch: the next barrier closes it. */
  readonly epoch: number;
  /** Barriers not yet decided, oldest first. */
  readonly open: readonly OpenEpoch[];
  /** The newest cut of the lineage. */
  readonly tip: CutRef | null;
  /** The cut whose disks the VMs booted with when the cluster was started last; what they wrote since is in the cuts after it. */
  readonly disks: CutRef | null;
  /** What this generation was restored from; pinned until its first commit (R17). */
  readonly basis: CutRef | null;
  /** Raises onto the tip since it was committed. */
  readonly attempts: number;
  /** Output passed without a cut since the tip, because protection was off: a restore would show the outside an older state (R18). */
  readonly outrun: boolean;
  /** Aborts in a row that each host was missing from (R22). */
  readonly strikes: Readonly<Record<string, number>>;
  /** A raise asked for and not yet decided; `rewound`: its time travel is in the log, `lossDecided`: its data loss is. */
  readonly raising: { readonly generation: number; readonly cause: Cause; readonly rewound: boolean; readonly lossDecided: boolean } | null;
  /** Cause of the last recovery, for people. */
  readonly cause: Cause | null;
  readonly plan: Pick<DecisionData<'recovery.planned'>, 'members' | 'moves'> | null;
  readonly halted: { readonly reason: HaltReason; readonly detail: string } | null;
  readonly epochs: { readonly committed: number; readonly aborted: number };
  readonly recoveries: number;
}

export const initialState: ClusterState = {
  log: null, spec: null, definition: 0, pins: {}, stage: 'waiting', protected: false, hosts: {}, generation: 0, incarnation: null, highestGeneration: 0, placement: {}, syncing: [],
  epoch: 0, open: [], tip: null, disks: null, basis: null, attempts: 0, outrun: false, strikes: {}, raising: null, cause: null, plan: null, halted: null,
  epochs: { committed: 0, aborted: 0 }, recoveries: 0,
};

export const recovering = (state: ClusterState): boolean => ['raising', 'raised', 'planned', 'resumed'].includes(state.stage);

export const admittedHosts = (state: ClusterState): HostState[] => Object.values(state.hosts).filter((host) => host.status === 'admitted');

export const placedOn = (placement: Placement, host: string): string[] => Object.keys(placement).filter((vm) => placement[vm] === host).sort();

/** Hosts that run VMs, by name. */
export const membersOf = (state: ClusterState): Member[] => admittedHosts(state)
  .map(({ host, agent }) => ({ host, agent, vms: placedOn(state.placement, host) }))
  .filter((member) => member.vms.length > 0)
  .sort((a, b) => (a.host < b.host ? -1 : 1));

/** Of these the hosts and VMs that take part in cuts. */
export const cutMembersOf = (state: ClusterState): Member[] => membersOf(state)
  .map((member) => ({ ...member, vms: member.vms.filter((vm) => !state.syncing.includes(vm)) }))
  .filter((member) => member.vms.length > 0);

/** The hosts that take part, as a watcher wants them. */
export const watchedLives = (state: ClusterState): { readonly host: string; readonly agent: string; readonly restorable: boolean }[] => admittedHosts(state)
  .map(({ host, agent }) => ({ host, agent, restorable: state.tip !== null || placedOn(state.placement, host).length === 0 }));
