import { GuestDisk } from '@virtcft/native';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { root } from '../demo/run.js';
import { readLoad } from '../guests.js';
import { LabUnavailable } from '../namespaces.js';
import { nbdPatterns, type NbdPattern, type NbdReport } from '../report/bench-reports.js';
import { distribution, ratio } from '../report/distribution.js';
import { describeMachine, idleCpu, measuredCommit } from '../report/machine.js';
import { nativeBench } from './native-bench.js';
import type { BenchOptions } from './options.js';

const run = promisify(execFile);
const DISK_BYTES = 512 * 1024 * 1024;
const PIECE_BYTES = 4 * 1024 * 1024;
const SECONDS = 1;
const READY_MS = 10_000;

interface Done { readonly operations: number; readonly bytes: number; readonly seconds: number }
type Rates = Record<NbdPattern, number[]>;
const noRates = (): Rates => ({ seq_read: [], seq_write: [], rand_read_4k: [], rand_write_4k: [] });

/** Our disk with a cut every interval, and qemu-nbd on a raw file, in turns under the same client; both on one file system. */
export async function benchNbd(options: BenchOptions, signal: AbortSignal): Promise<NbdReport> {
  const [idle_cpu, commit, client, version] = [await idleCpu(), await measuredCommit(root), await nativeBench('nbd_load'), await qemuNbdVersion()];
  await mkdir(join(root, '.artifacts/bench'), { recursive: true });
  const folder = await mkdtemp(join(root, '.artifacts/bench/nbd-'));
  const [ours, theirs] = [noRates(), noRates()];
  let cuts: Cuts | null = null;
  let qemu: ChildProcess | null = null;
  try {
    await fillRaw(join(folder, 'raw'));
    await copyFile(join(folder, 'raw'), join(folder, 'image'));
    await mkdir(join(folder, 'disk'));
    const disk = new GuestDisk({ directory: join(folder, 'disk'), bytes: DISK_BYTES, image: join(folder, 'image') });
    cuts = new Cuts(disk, options.interval_ms);
    disk.serve(join(folder, 'ours.sock'));
    qemu = spawn('qemu-nbd', ['-f', 'raw', '-k', join(folder, 'theirs.sock'), '-t', '--cache=writeback', '--aio=threads', join(folder, 'raw')], { stdio: 'ignore' });
    for (let waited_ms = 0; !existsSync(join(folder, 'theirs.sock')); waited_ms += 10) {
      if (waited_ms > READY_MS) throw new LabUnavailable('qemu-nbd does not serve');
      await wait(10);
    }
    for (let round = 0; round < options.rounds && !signal.aborted; round += 1) {
      for (const pattern of nbdPatterns) {
        const ourTurn = async (): Promise<void> => { ours[pattern].push(await rateOf(client, join(folder, 'ours.sock'), pattern, round)); };
        const theirTurn = async (): Promise<void> => { theirs[pattern].push(await rateOf(client, join(folder, 'theirs.sock'), pattern, round)); };
        for (const turn of round % 2 === 0 ? [ourTurn, theirTurn] : [theirTurn, ourTurn]) await turn();
      }
    }
  } finally {
    await cuts?.end();
    qemu?.kill();
    await rm(folder, { recursive: true, force: true });
  }
  signal.throwIfAborted();
  const each = <T>(of: (pattern: NbdPattern) => T): Record<NbdPattern, T> =>
    ({ seq_read: of('seq_read'), seq_write: of('seq_write'), rand_read_4k: of('rand_read_4k'), rand_write_4k: of('rand_write_4k') });
  return {
    schema: 'virtcft/report/nbd/1', commit, load: readLoad(options.load), ok: true, machine: await describeMachine({ accel: 'none', tracker: 'none', version }, idle_cpu),
    params: { rounds: options.rounds, interval_ms: options.interval_ms, disk_bytes: DISK_BYTES, seconds: SECONDS, requests_under_way: 16, sequential_bytes: 262_144 },
    ratios: each((pattern) => ratio(distribution(ours[pattern]).p50, distribution(theirs[pattern]).p50)),
    ours_bytes_per_s: each((pattern) => distribution(ours[pattern])), qemu_nbd_bytes_per_s: each((pattern) => distribution(theirs[pattern])),
    rounds: each((pattern) => ({ ours_bytes_per_s: ours[pattern], qemu_nbd_bytes_per_s: theirs[pattern] })),
    cuts: cuts?.capture_us.length ?? 0, capture_us: distribution(cuts?.capture_us ?? []),
  };
}

/** Captures and folds, as an agent does, until it is ended. */
class Cuts {
  readonly capture_us: number[] = [];
  private readonly ending = new AbortController();
  private readonly done: Promise<void>;
  constructor(private readonly disk: GuestDisk, private readonly interval_ms: number) { this.done = this.run(); }

  async end(): Promise<void> {
    this.ending.abort();
    await this.done;
    this.disk.close();
  }

  private async run(): Promise<void> {
    for (let epoch = 1; !this.ending.signal.aborted; epoch += 1) {
      await wait(this.interval_ms, undefined, { signal: this.ending.signal }).catch(() => undefined);
      this.capture_us.push((await this.disk.capture(epoch)).capture_us);
      await this.disk.fold(epoch);
    }
  }
}

async function rateOf(client: string, socket: string, pattern: NbdPattern, seed: number): Promise<number> {
  const { stdout } = await run(client, [socket, pattern, String(SECONDS), String(seed)]);
  const done = JSON.parse(stdout) as Done;
  return Math.round(done.bytes / done.seconds);
}

async function qemuNbdVersion(): Promise<string> {
  try {
    return /\d+\.\d+\.\d+/.exec((await run('qemu-nbd', ['--version'])).stdout)?.[0] ?? 'unknown';
  } catch (error) {
    throw new LabUnavailable('qemu-nbd is not there: run `npm run setup` (package qemu-utils)', { cause: error });
  }
}

/** Bytes everywhere, so that no side reads holes. */
async function fillRaw(path: string): Promise<void> {
  const piece = Buffer.alloc(PIECE_BYTES);
  for (let i = 0; i < PIECE_BYTES; i += 4) piece.writeUInt32LE((i * 2_654_435_761) % 0x1_0000_0000, i);
  const file = await open(path, 'w');
  try {
    for (let at = 0; at < DISK_BYTES; at += PIECE_BYTES) await file.write(piece, 0, PIECE_BYTES, at);
  } finally {
    await file.close();
  }
}
