import { Argument, Command } from 'commander';
import { storeName, whole } from '../demo/options.js';

export const benches = ['pause', 'recovery', 'idle', 'overhead', 'soak', 'fabric', 'nbd', 'weather', 'delta', 'chain', 'flip', 'seal', 'seed', 'commit', 'store-faults'] as const;
export type Bench = (typeof benches)[number];

export interface BenchOptions {
  readonly bench: Bench;
  readonly check: boolean;
  readonly seed: number;
  readonly interval_ms: number;
  readonly load: string;
  readonly store: string;
  /** Runs of the soak; seeds of the store faults. */
  readonly runs: number;
  /** Kills of the recovery bench. */
  readonly kills: number;
  /** Of the idle bench. */
  readonly minutes: number;
  /** Cuts of the pause bench; seconds of each window of the overhead and weather benches, and of the delta and commit benches' run. */
  readonly cuts: number;
  readonly seconds: number;
  /** Of the flip bench: damaged objects. */
  readonly flips: number;
  /** Of the nbd bench: each side once with each pattern; of the seal bench; of the chain bench: each cut once. */
  readonly rounds: number;
  /** Of the seed bench: of the large guest, how much of it is in use, and how fast its base is made at most. */
  readonly memory_mib: number;
  readonly fill_mib: number;
  readonly rate_mib_per_s: number;
  readonly json: boolean;
}

/** Throws CommanderError for wrong arguments and for --help, after writing what to say. */
export function parseBenchOptions(args: readonly string[]): BenchOptions {
  let bench = 'pause' as Bench;
  const command = new Command('npm run bench --')
    .description('Measures, and writes .artifacts/bench/<name>.json. With --check it exits 1 when a bar is missed.')
    .addArgument(new Argument('<name>', 'what to measure').choices([...benches]))
    .option('--check', 'judge the bars', false)
    .option('--seed <n>', 'of the first run', whole(0, 0xffff_ffff), 1)
    .option('--interval <ms>', 'time from one cut to the next', whole(10, 60_000), 100)
    .option('--load <name>', 'a file of bench/loads; for overhead, soak and delta: several, separated by commas (default: light; delta: light,database)')
    .option('--store <where>', 'as of the demo (default: dir; store-faults: minio)', storeName)
    .option('--runs <n>', 'soak: runs, each with two kills (default: 20); store-faults: seeds, each with one kill of a server (default: 50)', whole(1, 10_000))
    .option('--kills <n>', 'recovery: kills in one cluster', whole(1, 1000), 10)
    .option('--minutes <n>', 'idle: how long', whole(1, 10_000), 10)
    .option('--cuts <n>', 'pause: cuts of each VM', whole(10, 100_000), 300)
    .option('--seconds <n>', 'overhead, weather: length of each of the four windows; delta: how long each load runs; commit: how long; seed: how long it is watched afterwards', whole(5, 3600), 20)
    .option('--flips <n>', 'flip: damaged objects', whole(1, 1_000_000), 2000)
    .option('--rounds <n>', 'nbd, seal: times that each side has its turn with each pattern or size; chain: folds of each cut', whole(1, 1000), 5)
    .option('--memory <MiB>', 'seed: of the large guest, which has two virtual CPUs', whole(256, 1_048_576), 4_096)
    .option('--fill <MiB>', 'seed: how much of it is in use', whole(1, 3_900), 2_048)
    .option('--rate <MiB/s>', 'seed: how fast its base is made at most', whole(1, 100_000), 64)
    .option('--json', 'the report on standard output, all else on standard error', false)
    .exitOverride()
    .action((name: Bench) => { bench = name; });
  command.parse([...args], { from: 'user' });
  const { interval, load, store, runs, memory, fill, rate, ...given } = command.opts<Omit<BenchOptions, 'bench' | 'interval_ms' | 'load' | 'store' | 'runs' | 'memory_mib' | 'fill_mib' | 'rate_mib_per_s'>
    & { interval: number; load?: string; store?: string; runs?: number; memory: number; fill: number; rate: number }>();
  const faults = bench === 'store-faults';
  return { ...given, memory_mib: memory, fill_mib: fill, rate_mib_per_s: rate, store: store ?? (faults ? 'minio' : 'dir'), runs: runs ?? (faults ? 50 : 20), load: load ?? (bench === 'delta' ? 'light,database' : 'light'), interval_ms: interval, bench };
}
