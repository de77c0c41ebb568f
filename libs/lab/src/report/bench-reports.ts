import { z } from 'zod';
import { commonKeys } from './heading.js';
import { Distribution } from './distribution.js';
import { Phase } from './demo-report.js';

const Parts = z.object({ stop: Distribution, scan: Distribution, copy: Distribution, state: Distribution, resume: Distribution });

export const PauseReport = z.object({
  schema: z.literal('virtcft/report/pause/1'), ...commonKeys,
  /** Per cut: at 128 MiB and at 512 MiB. */
  pause_ms: Distribution, pause_512_ms: Distribution,
  /** QEMU's own way: stop, full migrate to a file, continue; at 128 MiB, interleaved with ours. */
  migrate_ms: Distribution,
  ratio: z.number().nullable(), ratio_512_to_128: z.number().nullable(),
  /** A host's cut of two VMs (128 MiB each) with network and two disks each, stopped in parallel: the longer of the two pauses; pages and blocks of both. */
  host_pause_ms: Distribution, host_dirty_pages: Distribution, host_dirty_blocks: Distribution,
  dirty_pages: Distribution, dirty_pages_512: Distribution, parts_ms: Parts, parts_512_ms: Parts,
});
export type PauseReport = z.infer<typeof PauseReport>;

export const RecoveryReport = z.object({
  schema: z.literal('virtcft/report/recovery/1'), ...commonKeys,
  kills: z.int().min(0), detect_ms: Distribution, fence_ms: Distribution, load_ms: Distribution, total_ms: Distribution, first_answer_ms: Distribution,
  violations: z.int().min(0), phases: z.partialRecord(Phase, z.int().min(0)),
});
export type RecoveryReport = z.infer<typeof RecoveryReport>;

const Rates = z.object({ writes_per_s: z.number(), moves_per_s: z.number(), pages_per_s: z.number() });
export const OverheadReport = z.object({
  schema: z.literal('virtcft/report/overhead/1'), ...commonKeys,
  loads: z.array(z.object({
    load: z.string(), protected: Rates, unprotected: Rates, ratio: z.object({ writes: z.number().nullable(), moves: z.number().nullable(), pages: z.number().nullable() }),
    output_delay_ms: Distribution,
    /** Of one core: agents, coordinator, replica-store, failover and the bus together, guests apart. */
    cpu_share: z.number().min(0), memory_bytes_per_vm: z.number().min(0),
  })),
});
export type OverheadReport = z.infer<typeof OverheadReport>;

export const IdleReport = z.object({
  schema: z.literal('virtcft/report/idle/1'), ...commonKeys,
  minutes: z.number().min(0), false_alarms: z.int().min(0), epochs_committed: z.int().min(0), busy_processes: z.int().min(0),
});
export type IdleReport = z.infer<typeof IdleReport>;

const byWay = <T extends z.ZodType>(value: T) => z.object({ ours: value, js_switch: value, bridge: value });
export const FabricReport = z.object({
  schema: z.literal('virtcft/report/fabric/1'), ...commonKeys,
  /** One TCP stream through the switch between two TAPs, through a loop in JavaScript between two TAPs, through a Linux bridge: medians, and each round in order. */
  gbit_s: byWay(z.number().min(0)), rounds_gbit_s: byWay(z.array(z.number().min(0))),
  ratio_to_js_switch: z.number().nullable(), ratio_to_linux_bridge: z.number().nullable(),
  /** Round trips of 64 bytes over TCP, ends included. */
  latency_us: byWay(Distribution),
  mtu: z.int(),
  /** That were on at any end; a figure counts only with none. */
  offloads: z.array(z.string()),
});
export type FabricReport = z.infer<typeof FabricReport>;

export const SoakReport = z.object({
  schema: z.literal('virtcft/report/soak/1'), ...commonKeys,
  runs: z.int().min(0), kills: z.int().min(0), phases: z.record(Phase, z.int().min(0)), violations: z.int().min(0),
  failed_runs: z.array(z.object({ seed: z.int(), reason: z.string() })), total_ms: Distribution,
});
export type SoakReport = z.infer<typeof SoakReport>;

export const DeltaReport = z.object({
  schema: z.literal('virtcft/report/delta/1'), ...commonKeys,
  /** All bytes of the segments stored, to those of the pages and blocks that the captures took, and to zstd at level 1 of those that had changed: over all loads. */
  stored_to_dirty: z.number().nullable(), stored_to_zstd1: z.number().nullable(),
  /** Of the load that is worst: the codec on one core, to a copy of the same pages. */
  encode_to_memcpy: z.number(), encode_gb_s: z.number(),
  loads: z.array(z.object({
    load: z.string(), captures: z.int(), dirty_bytes: z.int(), changed_bytes: z.int(), stored_bytes: z.int(),
    /** Of the stored bytes: headers, device and CPU state. */
    state_bytes: z.int(),
    encoded_bytes: z.int(), zstd1_bytes: z.int(), encode_gb_s: z.number(), memcpy_gb_s: z.number(), encode_to_memcpy: z.number(),
  })),
});
export type DeltaReport = z.infer<typeof DeltaReport>;

export const ChainReport = z.object({
  schema: z.literal('virtcft/report/chain/1'), ...commonKeys,
  /** To fold a cut from the store into an empty folder, in turns in one run: the tenth cut, the thousandth, and that along its whole chain. */
  fold_10_ms: Distribution, fold_1000_ms: Distribution, fold_1000_without_bases_ms: Distribution,
  /** In the order in which they were measured. */
  rounds_10_ms: z.array(z.number()), rounds_1000_ms: z.array(z.number()),
  /** Of the medians. */
  ratio_1000_to_10: z.number().nullable(), ratio_without_bases: z.number().nullable(),
  /** Of packs and manifests. */
  stored_bytes: z.int().min(0),
  bases: z.int().min(0),
  /** Of each base what was new, and how long it took to fold on to its cut and write it, without a budget. */
  base_bytes: Distribution, base_ms: Distribution,
});
export type ChainReport = z.infer<typeof ChainReport>;

/** What damage to a store led to. */
export const FlipFound = z.object({
  /** Flipped bits, objects cut short, and missing ones. */
  flips: z.int().min(0),
  /** Of which the audit named the very object. */
  detected: z.int().min(0),
  /** Restores that gave other contents than the guests had. */
  wrong_restores: z.int().min(0),
  /** With nothing but the store an earlier cut was taken for the newest, and given as it was: its manifest or generation record was missing or damaged, which the log knows. */
  older_restores: z.int().min(0),
  /** The first that the audit did not name. */
  unnoticed: z.array(z.string()),
  parts: z.array(z.object({ form: z.enum(['plain', 'sealed']), kind: z.string(), part: z.string(), flips: z.int().min(0), detected: z.int().min(0) })),
});
export const FlipReport = z.object({ schema: z.literal('virtcft/report/flip/1'), ...commonKeys, ...FlipFound.shape });
export type FlipReport = z.infer<typeof FlipReport>;

const PlainAndSealed = z.object({ plain: Distribution, sealed: Distribution });
export const SealReport = z.object({
  schema: z.literal('virtcft/report/seal/1'), ...commonKeys,
  /** Of one core, to put and to get a gigabyte of objects in a folder. */
  cpu_s_per_gb: z.object({ put: PlainAndSealed, get: PlainAndSealed }),
  /** Cores that sealing and opening take of a stream of one gigabyte a second: the difference of the medians. */
  cores_per_gb_s: z.object({ put: z.number().nullable(), get: z.number().nullable() }),
});
export type SealReport = z.infer<typeof SealReport>;

export const WeatherReport = z.object({
  schema: z.literal('virtcft/report/weather/1'), ...commonKeys,
  /** Per cut and VM, without and with slow tunnels between the hosts and decisions that come late to one of them, in turns in one run. */
  pause_ms: z.object({ calm: Distribution, stormy: Distribution }),
  /** Of the medians. */
  ratio_stormy_to_calm: z.number().nullable(),
});
export type WeatherReport = z.infer<typeof WeatherReport>;

export const SeedReport = z.object({
  schema: z.literal('virtcft/report/seed/1'), ...commonKeys,
  /** Of the large VM; what of it was read, in how many rounds, and sent. */
  memory_bytes: z.int().min(0), seeded_bytes: z.int().min(0), rounds: z.int().min(0), stored_bytes: z.int().min(0),
  /** Until its base was stored; from the order to protect to the commit of the first cut with it. */
  seed_s: z.number().min(0), protected_s: z.number().min(0), rate_bytes_per_s: z.number().min(0),
  first_cut: z.object({ bytes: z.int().min(0), dirty_pages: z.int().min(0), pause_ms: z.number().nullable() }),
  /** Of the large VM: while it is seeded it is in no cut, and nothing stops it. */
  pause_ms: z.object({ after: Distribution }),
  /** Of one VM on the same host and one on another. */
  others_pause_ms: z.object({ during: Distribution, after: Distribution }),
  /** Barrier to commit. */
  commit_ms: z.object({ during: Distribution, after: Distribution }),
  /** Committed until it joined, in how many seconds; aborted over all. */
  epochs: z.object({ during: z.int().min(0), during_s: z.number().min(0), aborted: z.int().min(0) }),
  /** Memory of their own: an agent's holds the base of what it seeds (R1). */
  agent_peak_bytes: z.int().min(0), agent_base_bytes: z.int().min(0), replica_store_peak_bytes: z.int().min(0),
});
export type SeedReport = z.infer<typeof SeedReport>;

export const nbdPatterns = ['seq_read', 'seq_write', 'rand_read_4k', 'rand_write_4k'] as const;
export type NbdPattern = (typeof nbdPatterns)[number];
const byPattern = <T extends z.ZodType>(of: T) => z.object({ seq_read: of, seq_write: of, rand_read_4k: of, rand_write_4k: of });
export const NbdReport = z.object({
  schema: z.literal('virtcft/report/nbd/1'), ...commonKeys,
  /** Bytes a second of our disk, with a cut and a fold every interval, to those of qemu-nbd on a raw file: medians of the same run. */
  ratios: byPattern(z.number().nullable()),
  ours_bytes_per_s: byPattern(Distribution), qemu_nbd_bytes_per_s: byPattern(Distribution),
  /** Round by round, in the order in which they were measured. */
  rounds: byPattern(z.object({ ours_bytes_per_s: z.array(z.number()), qemu_nbd_bytes_per_s: z.array(z.number()) })),
  cuts: z.int().min(0), capture_us: Distribution,
});
export type NbdReport = z.infer<typeof NbdReport>;

export const storeFaultTargets = ['minio', 'replica-store', 'nats'] as const;
export type StoreFaultTarget = (typeof storeFaultTargets)[number];
export const StoreFaultsReport = z.object({
  schema: z.literal('virtcft/report/store-faults/1'), ...commonKeys, store: z.string(),
  /** One seed each: one server got SIGKILL in the middle of epochs and came back. */
  runs: z.int().min(0), kills: z.int().min(0), targets: z.object({ minio: z.int().min(0), 'replica-store': z.int().min(0), nats: z.int().min(0) }), phases: z.record(Phase, z.int().min(0)),
  /** How long it was away, and from its return to the first cut that was decided after it. */
  down_ms: Distribution, back_ms: Distribution,
  /** Announced in the log; each was read from the store with all that it rests on, after the kill that followed it and once more at the end: objects and bytes of that last reading. */
  commits: z.int().min(0), objects: z.int().min(0), read_bytes: z.int().min(0),
  /** Of those: not there, not whole, or resting on what is not. */
  lost_commits: z.int().min(0),
  /** Acknowledged to an outside client, and not there after a kill. */
  lost_writes: z.int().min(0),
  /** Recoveries: a store or a bus that is away is no reason for one. */
  raises: z.int().min(0),
  violations: z.int().min(0), failed_runs: z.array(z.object({ seed: z.int(), reason: z.string() })), detail: z.array(z.string()),
});
export type StoreFaultsReport = z.infer<typeof StoreFaultsReport>;

export const CommitReport = z.object({
  schema: z.literal('virtcft/report/commit/1'), ...commonKeys, store: z.string(),
  /** Barrier published to output released, and one put of an epoch's segment bytes by a client of the same store under the same load, between the epochs. */
  commit_ms: Distribution, put_ms: Distribution,
  /** Of the medians. */
  ratio_to_put: z.number().nullable(),
  /** Of all hosts, per epoch. */
  segment_bytes: Distribution,
  /** Where the time of a commit goes: barrier to capture stored at the last host; of it the uploads; stored to decided; decided to released. */
  parts_ms: z.object({ stored: Distribution, decided: Distribution, released: Distribution }),
});
export type CommitReport = z.infer<typeof CommitReport>;
