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
