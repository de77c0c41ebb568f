import type { PageSource } from '@virtcft/lazy-fill';
import type { FillStats, PageCatalog, TrackerKind } from '@virtcft/native';

export type { PageSource } from '@virtcft/lazy-fill';

/** How a driver learns of written pages: from outside the process, or by Xen's own log. */
export type Tracking = TrackerKind | 'log-dirty';

/** R25. stop: a guest's time stands still in every pause, and from a cut to its restore. follow: it moves ahead by them, and never back. */
export type ClockPolicy = 'stop' | 'follow';

/** What a VM is, independent of the hypervisor. */
export interface VmSpec {
  readonly name: string;
  readonly memory_mib: number;
  readonly vcpus: number;
  /** Absolute paths on the host. */
  readonly kernel: string;
  readonly initrd: string | null;
  readonly append: string;
  readonly nics: readonly { readonly mac: string }[];
  readonly clock: ClockPolicy;
  /** In the order in which the guest sees them; none when absent. */
  readonly disks?: readonly VmDisk[];
}

/** A disk that the host's agent serves by NBD: the hypervisor is a client of it and keeps no state of its own. */
export interface VmDisk {
  readonly name: string;
  readonly bytes: number;
  /** Absolute path of the unix socket on the host. */
  readonly socket: string;
}

/** A NIC's two socket paths: the hypervisor binds `guest`, the fabric's port binds `fabric`. */
export interface NicAttachment {
  readonly mac: string;
  readonly guest: string;
  readonly fabric: string;
}

/** What must be equal between the host that captured and the host that loads (R20). */
export interface HypervisorIdentity {
  readonly driver: 'qemu' | 'xen';
  readonly version: string;
  readonly machine: string;
  readonly accel: string;
  readonly cpu: string;
}

/** R7: part of every capture. */
export type RunState = 'running' | 'paused' | 'off' | 'panicked';

/** Milliseconds of each part of a capture, for the reports. */
export interface CaptureParts {
  readonly stop_ms: number;
  readonly scan_ms: number;
  readonly copy_ms: number;
  readonly state_ms: number;
  readonly resume_ms: number;
}

export interface VmCapture {
  readonly vm: string;
  readonly epoch: number;
  readonly runState: RunState;
  readonly dirtyPages: number;
  /** Opaque device and CPU state; self-contained: `load` takes it on any host of equal identity. Read after the guest runs again. */
  deviceState(): Promise<Buffer>;
}

export type VmEvent =
  | { readonly kind: 'exited'; readonly vm: string; readonly reason: string }
  | { readonly kind: 'run-state'; readonly vm: string; readonly runState: RunState }
  | { readonly kind: 'reset'; readonly vm: string };

/** A base of a VM's memory in the making, while the VM runs and before its first capture (R20). */
export interface VmSeed {
  /** The base's: the parent that the first capture is encoded against. */
  readonly epoch: number;
  /**
   * Copies those of pages [first, first + count) that were written since they were copied last into the base, where they are at least `fewest`; else they are left to a
   * later call, or the first capture. `content`: these pages as the base holds them now; null where fewer were written, or all of it is zero.
   */
  copy(first: number, count: number, fewest: number): Promise<{ pages: number; content: Buffer | null }>;
}

/** How a VM's time is kept. */
export interface ClockStats {
  readonly policy: ClockPolicy;
  /** What of the policy is not done here, and why; null when all of it is. */
  readonly shortcoming: string | null;
  /** By how much the guest's clocks were moved ahead since it was started or loaded here. */
  readonly advanced_ms: number;
  /** Time that was not made up for, since one move is bounded. */
  readonly lost_ms: number;
}

export interface VmStats {
  readonly vm: string;
  readonly runState: RunState;
  readonly tracker: Tracking;
  readonly memory: { readonly base_bytes: number; readonly layer_bytes: number; readonly layers: number };
  readonly fill: FillStats | null;
  readonly clock: ClockStats;
}

/** What a restore loads beside memory. */
export interface VmImage {
  readonly epoch: number;
  readonly deviceState: Buffer;
  readonly runState: RunState;
  /** Whole milliseconds by which the guest's clocks are moved ahead of the cut (R25), the same for all VMs of a cluster. Not under `stop`. */
  readonly ahead_ms: number;
  /** When the restore was asked for (`performance.now()`): from then on the time of a guest that follows is its host's, so that loading is a pause like any other. */
  readonly asked_ms: number;
}

/** What was written, as a page section, and the names of the segments that it refers to. */
export interface EncodedMemory { readonly section: Buffer; readonly pages: number; readonly sources: readonly string[]; readonly encode_ms: number }

/**
 * One started or loaded VM. Methods that change its run state are called by one owner, in order.
 * A capture is split so that the pause holds only what must be inside it: `stop`, `capture`, `resume`; encoding comes later.
 */
export interface Vm {
  readonly spec: VmSpec;
  readonly runState: RunState;
  /** Dirty pages move to the open layer while the guest runs. */
  precopy(): Promise<{ pages: number }>;
  /**
   * Begins to make a base of its memory piece by piece, without stopping it: what is written meanwhile is found by a later `copy` or the first capture. Only before the first
   * capture, and of a memory that is whole; again: starts over. A driver without it has VMs stored whole in their first cut.
   */
  seed?(): Promise<VmSeed>;
  /** Stops the virtual CPUs and drains I/O. A VM that is off, panicked or paused stays so and is captured so. */
  stop(): Promise<void>;
  /** While stopped: what the hypervisor still had to do for the guest, and could do with the room that its ports have, is done. */
  settle(): Promise<void>;
  /** While stopped: memory into layer `epoch`, device state aside. */
  capture(epoch: number): Promise<VmCapture>;
  /** Runs again unless its run state before the stop was another. Returns the pause of this VM and its parts. */
  resume(): Promise<{ pause_ms: number; parts: CaptureParts }>;
  /** `catalog`: stored pages that may be referred to; a driver whose pages are encoded elsewhere refers to none. */
  encode(parent: number | null, epoch: number, catalog?: PageCatalog): Promise<EncodedMemory>;
  /** `epoch` is committed: fold. */
  commit(epoch: number): Promise<void>;
  /** The user's pause: the guest stays stopped across captures and restores (R7) until `unpause`. Not while stopped for a capture. */
  pause(): Promise<void>;
  unpause(): Promise<void>;
  /** Full compare of the stopped guest with the captured content (I5); pages that differ. */
  verify(epoch: number): Promise<number>;
  /** SHA-256 of the memory content as of `epoch`. */
  digest(epoch: number): Promise<string>;
  /**
   * The guest is stopped for good, its memory file made equal to `epoch`, the process replaced by one that has loaded `deviceState`, paused.
   * The way a survivor rolls back: no network, cost proportional to what was touched. `quiet` is run when the old process can write to its disks
   * no more, and before the new one opens them.
   */
  rollback(image: VmImage, quiet?: () => Promise<void>): Promise<void>;
  stats(): VmStats;
  destroy(): Promise<void>;
}

/** The port every hypervisor driver implements; `test/contract.ts` holds the suite each must pass. */
export interface HypervisorDriver {
  readonly identity: HypervisorIdentity;
  readonly tracker: Tracking;
  /** All VMs of the host stop within this, or a cut is given up and the guests go on (R4): what a guest takes when its host does other work too. */
  readonly stop_budget_ms: number;
  /** Boots a VM, running (`paused: false`) or held before its first instruction. */
  start(spec: VmSpec, nics: readonly NicAttachment[], options?: { paused?: boolean }): Promise<Vm>;
  /** Loads a VM of cut `epoch`, paused; its memory arrives lazily from `source`. */
  load(spec: VmSpec, nics: readonly NicAttachment[], image: VmImage & { source: PageSource }): Promise<Vm>;
  /** Does ahead of time what a `load` or `rollback` of such a VM needs on this host. Never required, idempotent; for hosts that VMs may move to. */
  prepare(spec: VmSpec): Promise<void>;
  list(): readonly Vm[];
  /** Ends whatever an earlier agent of this host left behind; returns what was found. The host is empty afterwards. */
  sweep(): Promise<readonly string[]>;
  onEvent(listener: (event: VmEvent) => void): void;
  /** Destroys every VM and ends. */
  close(): Promise<void>;
}
