import { z } from 'zod';
import { Barrier, Mac, Name } from './names.js';

const AbsolutePath = z.string().max(1000).regex(/^\//, 'give an absolute path on the hosts');

/** One disk of a VM. Its content is taken from `source` once, before protection begins; from then on the cluster's cuts hold it. */
export const DiskDefinition = z.strictObject({
  name: Name,
  /** An image on the host where the VM first starts. It is read, never written. */
  source: AbsolutePath,
  format: z.enum(['raw', 'qcow2']).default('raw'),
});
export type DiskDefinition = z.infer<typeof DiskDefinition>;

/** One VM of a cluster file. Strict: what cannot be captured and gated (R9) has no key here and is refused by name. */
export const VmDefinition = z.strictObject({
  name: Name,
  memory_mib: z.int().min(80).max(1_048_576).default(128),
  vcpus: z.int().min(1).max(64).default(1),
  kernel: AbsolutePath,
  initrd: AbsolutePath.optional(),
  append: z.string().max(2000).default(''),
  mac: Mac,
  /** The guest's own address; announced after a move. */
  address: z.ipv4().optional(),
  /** In the order in which the guest sees them. */
  disks: z.array(DiskDefinition).max(8).default([]),
  /** Where it is placed first; otherwise the first host with room. */
  host: Name.optional(),
});
export type VmDefinition = z.infer<typeof VmDefinition>;

/** The cluster file: `virtcft apply -f cluster.yaml`. */
export const ClusterSpec = z.strictObject({
  apiVersion: z.literal('virtcft/v1'),
  name: Name,
  hosts: z.array(Name).min(1).max(256),
  vms: z.array(VmDefinition).min(1).max(1000),
  /** Time from one barrier to the next. Shorter: less held output delay; longer: less overhead. */
  interval_ms: z.int().min(10).max(60_000).default(100),
  /** `coloured`: no host waits for another. `two-phase`: all stand still at one time, so pauses last a round trip more and hardly a frame is late. */
  barrier: Barrier.default('coloured'),
  /** W: epochs that may be captured and not yet committed. */
  window: z.int().min(1).max(16).default(2),
  /** An epoch with a member missing after this is aborted. */
  epoch_deadline_ms: z.int().min(100).max(600_000).default(5_000),
  /** Bound of held output per host; at it guests are held back. */
  held_output_bytes: z.int().min(65_536).max(4_294_967_296).default(67_108_864),
  /** The guests' network: largest packet in bytes, as each guest has set it on its NIC. Hosts carry 150 bytes more between them, in fragments if need be. */
  mtu: z.int().min(1_280).max(9_000).default(1_500),
  protect: z.boolean().default(true),
  /** Every n-th epoch each VM is compared with its captured content in full (I5). 0: never. */
  verify_every: z.int().min(0).max(1_000_000).default(0),
  /** What a pause or a restore is to guests' clocks (R25). stop: time stands still; follow: it moves ahead by it, and never back. */
  clock: z.enum(['stop', 'follow']).default('stop'),
  /**
   * Which cuts are kept: the newest `last`, and the newest of each of the last so many minutes, hours and days that have one; the tip and what a recovery
   * needs always are. Absent: all are kept.
   */
  retention: z.strictObject({
    last: z.int().min(1).max(1_000_000),
    minutes: z.int().min(0).max(100_000).default(0),
    hours: z.int().min(0).max(100_000).default(0),
    days: z.int().min(0).max(10_000).default(0),
  }).optional(),
  /**
   * New beginnings of the VMs' chains, written in the background: every so many cuts at the soonest (0: never), at most so fast, and in bytes no more than this
   * share of what the cuts store, so that a restore from the store, and what it keeps, do not grow with the cluster's age.
   */
  bases: z.strictObject({
    every: z.int().min(0).max(1_000_000).default(100),
    bytes_per_s: z.int().min(65_536).max(10_737_418_240).default(16_777_216),
    share_percent: z.int().min(1).max(1_000).default(50),
  }).prefault({}),
  policies: z.strictObject({
    /** What to do when the last released cut cannot be restored (R18). */
    data_loss: z.enum(['halt', 'rollback']).default('halt'),
    /** Failed recoveries on one basis before the cluster halts with an alarm (R17). */
    recovery_attempts: z.int().min(1).max(100).default(5),
    /**
     * Not filled in where a file does not say it: definitions that were stored before read back as they were written. A VM of this much memory or more comes into the cuts only when a base of it is stored, made while it runs (R20). Smaller ones are
     * stored whole in their first cut.
     */
    seed_from_mib: z.int().min(80).max(1_048_576).optional().meta({ default: 1_024 }),
    /** How fast a base is made, per VM: what of the memory holds data is read, hashed, compressed and sent at this rate at most. */
    seed_mib_per_s: z.int().min(1).max(100_000).optional().meta({ default: 64 }),
  }).prefault({}),
}).superRefine((spec, ctx) => {
  const unique = (values: readonly string[], what: string): void => {
    const seen = new Set<string>();
    for (const value of values) {
      if (seen.has(value)) ctx.addIssue({ code: 'custom', message: `${what} "${value}" is given twice` });
      seen.add(value);
    }
  };
  unique(spec.hosts, 'host');
  unique(spec.vms.map((vm) => vm.name), 'VM');
  unique(spec.vms.map((vm) => vm.mac), 'MAC');
  for (const vm of spec.vms) {
    unique(vm.disks.map((disk) => disk.name), `disk of VM "${vm.name}"`);
    if (vm.host !== undefined && !spec.hosts.includes(vm.host)) ctx.addIssue({ code: 'custom', message: `VM "${vm.name}" is placed on "${vm.host}", which is not among the hosts` });
  }
});
export type ClusterSpec = z.infer<typeof ClusterSpec>;
