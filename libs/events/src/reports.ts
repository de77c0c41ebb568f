import { z } from 'zod';
import { AgentId, Epoch, Generation, Identity, Mac, Name, RunState, Sha256 } from './names.js';

const from = { host: Name, agent: AgentId };
/** One disk of a VM; `image`: hash of the stored image that its chain begins at, null where that is a segment which holds everything. */
export const DiskRef = z.object({ name: Name, bytes: z.int().min(4096).multipleOf(4096), image: Sha256.nullable() });
export type DiskRef = z.infer<typeof DiskRef>;
/** A VM's disks in the order in which the guest sees them; as many as a cluster file may name. */
export const DiskRefs = z.array(DiskRef).max(8).refine((disks) => new Set(disks.map(({ name }) => name)).size === disks.length, 'two disks of one name');

const Alarm = z.enum(['no-spare', 'syncing', 'store-unavailable', 'unprotected', 'output-bound', 'halted', 'straggler', 'object-damaged']);
const Pause = z.object({ vm: Name, pause_ms: z.number().min(0), parts_ms: z.record(z.string().max(20), z.number()) });

/** One stored segment, as the cut will name it. */
export const SegmentRef = z.object({
  vm: Name, hash: Sha256, parent: Sha256.nullable(), kind: z.enum(['full', 'delta']), runState: RunState,
  memory_bytes: z.int().min(4096), dirty_pages: z.int().min(0), disks: DiskRefs.default([]),
});
export type SegmentRef = z.infer<typeof SegmentRef>;

/** What agents and watchers tell about a cluster; on subjects of their own, so that they cannot starve decisions (R13). */
export const reportSchemas = {
  'vms.started': z.object({ ...from, generation: Generation, vms: z.array(Name) }),
  /** A base of this VM's memory is being made while it runs (R20). */
  'vm.seeding': z.object({ ...from, generation: Generation, vm: Name, memory_bytes: z.int().min(4096) }),
  /** It is stored; what was written meanwhile is for the first cut. `image` null: this host cannot make one, the first segment will hold all. */
  'vm.seeded': z.object({
    ...from, generation: Generation, vm: Name, image: Sha256.nullable(),
    seed_ms: z.number().min(0), seeded_bytes: z.int().min(0), stored_bytes: z.int().min(0), rounds: z.int().min(0),
  }),
  /** A host's whole part of an epoch is durable: segments and channel state in one pack (R15). */
  'segments.stored': z.object({
    ...from, generation: Generation, epoch: Epoch,
    pack: z.object({ key: z.string().max(400), hash: Sha256, bytes: z.int().min(0) }),
    segments: z.array(SegmentRef),
    channels: z.object({ frames: z.int().min(0), down: z.array(Name) }),
    pauses: z.array(Pause),
    /** I5 checks made at this cut, and pages found to differ. */
    verified: z.object({ checks: z.int().min(0), differing: z.int().min(0) }),
    nics: z.array(Mac),
  }),
  /** First phase of a two-phase barrier (R4a): the VMs of this host stand still, what they sent has left, nothing is captured yet. */
  'barrier.reached': z.object({ ...from, generation: Generation, epoch: Epoch }),
  'capture.failed': z.object({
    ...from, generation: Generation, epoch: Epoch, reason: z.string().max(500),
    /** It stood still at a two-phase barrier whose seal did not come in time: others are late, not this host (R22). */
    waited: z.boolean().optional(),
  }),
  /** Output of `epoch` left: barrier receipt to release, and the age of the oldest frame. */
  'output.released': z.object({ ...from, generation: Generation, epoch: Epoch, frames: z.int().min(0), bytes: z.int().min(0), commit_ms: z.number().min(0), oldest_ms: z.number().min(0) }),
  'recovery.stopped': z.object({ ...from, generation: Generation }),
  'recovery.loaded': z.object({ ...from, generation: Generation, vms: z.array(Name) }),
  'recovery.running': z.object({ ...from, generation: Generation, vms: z.array(Name) }),
  'recovery.failed': z.object({ ...from, generation: Generation, stage: z.enum(['stop', 'load', 'resume']), reason: z.string().max(500) }),
  /** The death of one hypervisor process is a failure like a host's (R7). */
  'vm.failed': z.object({ ...from, generation: Generation, vm: Name, reason: z.string().max(500) }),
  'vm.run-state': z.object({ ...from, generation: Generation, vm: Name, runState: RunState }),
  /** A watcher is sure that this life of the host is over. Void in another generation (R21). */
  'host.suspected': z.object({ ...from, generation: Generation, silent_ms: z.number().min(0), witnesses: z.array(Name) }),
  /** An object of the store is damaged or missing: cuts that rest on it cannot be restored (R18). `part`: which part of it, or `object` for all. */
  'object.damaged': z.object({ key: z.string().max(400), part: z.string().max(100), reason: z.string().max(500) }),
  /** New bases of VMs are in the store, at the cut of this epoch (R23). `chunks`: that they name; `written_bytes`: of the `new_chunks` and the bases themselves. */
  'bases.stored': z.object({ generation: Generation, epoch: Epoch, vms: z.int().min(1), chunks: z.int().min(0), new_chunks: z.int().min(0), written_bytes: z.int().min(0) }),
  /** Garbage was removed from the store (R23); `keys`: the first of them. */
  'objects.removed': z.object({ by: z.string().max(200), objects: z.int().min(1), bytes: z.int().min(0), keys: z.array(z.string().max(400)).max(100) }),
  /** I6: protection is weaker than promised, or ended. */
  'alarm.raised': z.object({ alarm: Alarm, detail: z.string().max(500) }),
  'alarm.cleared': z.object({ alarm: Alarm }),
} as const;

export type ReportType = keyof typeof reportSchemas;
export type ReportData<T extends ReportType> = z.infer<(typeof reportSchemas)[T]>;
export type Report = { [T in ReportType]: { readonly type: T; readonly data: ReportData<T> } }[ReportType];

/** A host offers itself; the newest per host counts. It is empty: nothing of an earlier life runs there. */
export const HostRegistered = z.object({
  ...from, tunnel: z.object({ address: z.ipv4(), port: z.int().min(1).max(65_535) }),
  identity: Identity, tracker: z.enum(['pagemap-scan', 'soft-dirty', 'compare', 'log-dirty']), memory_mib: z.int().min(0), vcpus: z.int().min(1),
  /** The highest generation that any life of this host has seen, and of which cluster: a rebuild begins above it (R16). */
  seen: z.object({ cluster: z.uuid(), generation: Generation }).optional(),
});
export type HostRegistered = z.infer<typeof HostRegistered>;

/** Plain NATS, at a fixed rate, never stored. */
export const Heartbeat = z.object({
  ...from, sequence: z.int().min(0), cluster: z.uuid().nullable(), generation: z.int().min(0), colour: z.int().min(0),
  /** How late this host's own timers run: a watcher widens its patience by it. */
  lag_ms: z.number().min(0),
  /** The second witness: when each peer was last heard over the fabric's tunnel. */
  peers: z.array(z.object({ host: Name, heard_ms: z.number().min(0) })),
  /** `filling`: parts of its memory are still on their way from the replica (R19, R20). `drifting`: its time falls behind, against the clock policy (R25). */
  vms: z.array(z.object({ vm: Name, runState: RunState, filling: z.boolean().optional(), drifting: z.boolean().optional(),
    /** Share of its base that is stored, while it is syncing (R20). */
    seeded: z.number().min(0).max(1).optional() })),
  held_output_bytes: z.int().min(0),
  /** Why the store does not take this host's packs now, in its own words (R24); not there while it does. */
  store_failure: z.string().max(400).optional(),
});
export type Heartbeat = z.infer<typeof Heartbeat>;
