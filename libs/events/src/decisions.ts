import { z } from 'zod';
import { ClusterSpec } from './cluster-spec.js';
import { AgentId, Barrier, CutRef, Epoch, Generation, Identity, Incarnation, Name, Pin, Placement, Sha256 } from './names.js';

/** Decisions of a cluster, appended with an expected sequence on its own subject (R13). One schema per type. */
export const decisionSchemas = {
  /** `log`: the incarnation of this decision log. */
  'cluster.created': z.object({ log: Incarnation, spec: ClusterSpec }),
  'cluster.changed': z.object({ spec: ClusterSpec }),
  /**
   * First of a log that was made anew from the object store, since the old one is lost (R16). `definition`: version of the definition that it was made from.
   * `generation`, `incarnation` and `tip` are those of the store's lineage, `highest` the highest number that the store or any agent knows: the next generation is above it.
   */
  'cluster.rebuilt': z.object({
    log: Incarnation, spec: ClusterSpec, protected: z.boolean(), stopped: z.boolean(), definition: z.int().min(1), pins: z.array(Pin).max(1_000),
    generation: z.int().min(0).max(0xffff_ffff), incarnation: Incarnation.nullable(), highest: z.int().min(0).max(0xffff_ffff),
    /** The newest cut, where its VMs ran, and an epoch that is above every one that was. */
    tip: CutRef.nullable(), placement: Placement, epoch: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
    /** As of `cluster.started`, where nothing was committed since. */
    disks: CutRef.nullable(),
    by: z.string().max(200),
  }),
  /** Nothing that this cut needs is removed until the pin of this name is. */
  'cut.pinned': z.object({ pin: Pin }),
  'cut.unpinned': z.object({ name: Name, by: z.string().max(200) }),
  /** A host that proved itself empty takes part. `number` is its tunnel identity, kept when it returns. */
  'host.admitted': z.object({
    host: Name, number: z.int().min(0).max(255), agent: AgentId,
    tunnel: z.object({ address: z.ipv4(), port: z.int().min(1).max(65_535) }),
    identity: Identity, memory_mib: z.int().min(0), vcpus: z.int().min(1),
  }),
  /** A host without VMs of the cluster is gone; one with VMs goes by `generation.raising`. */
  'host.lost': z.object({ host: Name, agent: AgentId, reason: z.string().max(500) }),
  /** Every VM boots on its host. The running epoch is `epoch`. `disks`: the cut whose disks they boot with; null at the first start: then with their images. */
  'cluster.started': z.object({ generation: Generation, incarnation: Incarnation, epoch: Epoch, placement: Placement, disks: CutRef.nullable().default(null),
    /** VMs that are in no cut until `vm.joined` (R20). */
    syncing: z.array(Name).optional(),
  }),
  /** From the next barrier on this VM is in the cuts. `image`: its base in the store; null where its first segment holds all of it. */
  'vm.joined': z.object({ generation: Generation, vm: Name, image: Sha256.nullable() }),
  'cluster.stopped': z.object({ by: z.string().max(200) }),
  'protection.enabled': z.object({ by: z.string().max(200) }),
  /** Output passes, nothing is captured, no automatic restore. */
  'protection.disabled': z.object({ by: z.string().max(200) }),
  /** The barrier (R5): close `epoch`. */
  'epoch.opened': z.object({
    generation: Generation, epoch: Epoch, members: z.array(z.object({ host: Name, agent: AgentId, vms: z.array(Name) })),
    /** Absent: coloured. */
    barrier: Barrier.optional(),
  }),
  /** Second phase of a two-phase barrier (R4a): every member stands still, all capture now. */
  'epoch.sealed': z.object({ generation: Generation, epoch: Epoch }),
  'epoch.committed': z.object({ generation: Generation, epoch: Epoch, cut: CutRef, previous: Sha256.nullable() }),
  'epoch.aborted': z.object({ generation: Generation, epoch: Epoch, reason: z.string().max(500), missing: z.array(Name) }),
  /** Step 1 of a raise (R16): nothing of the old generation can commit any more. `generation` is the new one. */
  'generation.raising': z.object({
    generation: Generation,
    cause: z.object({
      kind: z.enum(['host-lost', 'vm-failed', 'recovery-failed', 'straggler', 'rewind', 'takeover', 'rebuild']),
      /** Hosts that take part no more, with the agent life that is meant. */
      lost: z.array(z.object({ host: Name, agent: AgentId })),
      vms: z.array(Name),
      detail: z.string().max(500),
      /** Time travel: the cut that was asked for and confirmed. */
      cut: CutRef.nullable(),
    }),
  }),
  /** `ahead_ms`: by how much every guest's clocks go on ahead of the basis (R25); 0 under the policy `stop`, and in logs from before it. */
  'generation.raised': z.object({ generation: Generation, incarnation: Incarnation, basis: CutRef, ahead_ms: z.int().min(0).max(3_600_000).default(0),
    /** The VMs that the basis holds; the others begin anew, from their images (R20). Absent: it holds all. */
    vms: z.array(Name).optional(),
  }),
  /** Where every VM goes. `epoch` is the first epoch that runs after the restore. */
  'recovery.planned': z.object({
    generation: Generation, epoch: Epoch, placement: Placement,
    members: z.array(z.object({ host: Name, agent: AgentId })),
    moves: z.array(z.object({ vm: Name, from: Name, to: Name })),
  }),
  /** All are loaded: run. */
  'recovery.resumed': z.object({ generation: Generation }),
  /** All run; the trail of this recovery ends. */
  'recovery.completed': z.object({ generation: Generation }),
  /** The outside would see a state older than what was released (R18). */
  'cluster.data-lost': z.object({ generation: Generation, released: CutRef, basis: CutRef, policy: z.enum(['halt', 'rollback']) }),
  'cluster.rewound': z.object({ cut: CutRef, by: z.string().max(200) }),
  /** Needs an operator, or a host with room: the reason says which. */
  'cluster.halted': z.object({ generation: Generation, reason: z.enum(['no-cut', 'no-room', 'recovery-attempts', 'data-loss', 'log-mismatch']), detail: z.string().max(500) }),
} as const;

export type DecisionType = keyof typeof decisionSchemas;
export type DecisionData<T extends DecisionType> = z.infer<(typeof decisionSchemas)[T]>;
export type Decision = { [T in DecisionType]: { readonly type: T; readonly data: DecisionData<T> } }[DecisionType];
