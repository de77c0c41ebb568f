import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Display } from '../demo/display.js';
import { all } from '../demo/facts.js';
import { root, runDemo } from '../demo/run.js';
import type { World } from '../demo/world.js';
import type { DeltaReport } from '../report/bench-reports.js';
import type { DemoReport } from '../report/demo-report.js';
import { distribution, ratio } from '../report/distribution.js';
import { common, demoOptions } from './cluster-benches.js';
import { traceDeltas } from './delta-trace.js';
import { nativeBench } from './native-bench.js';
import type { BenchOptions } from './options.js';

const run = promisify(execFile);
const PAGE_BYTES = 4096;
const CUTS = 60; // some 200 MB of pages with their parents
const ROUNDS = 7;

interface Encoded { readonly bytes: number; readonly encoded_bytes: number; readonly zstd1_bytes: number; readonly encode_s: number[]; readonly copy_s: number[] }
type Entry = DeltaReport['loads'][number];

/** What cuts of real guests store, to what they wrote, to zstd of the same pages; and how fast their pages are encoded, to how fast they are copied. */
export async function benchDelta(options: BenchOptions, signal: AbortSignal, display: Display): Promise<DeltaReport> {
  const program = await nativeBench('delta', ['section', 'section_writer', 'page_catalog', 'page_code', 'sha256', 'crc32c'].map((part) => `../src/section/${part}.cc`), ['-lzstd']);
  const loads: Entry[] = [];
  let last: DemoReport | null = null;
  let ok = true;
  for (const load of options.load.split(',')) {
    last = await runDemo(demoOptions(options, { load }), {
      signal, display, afterwards: async (world) => {
        await wait(options.seconds * 1000, undefined, { signal });
        loads.push({ load, ...await measure(world, program) });
      },
    });
    ok &&= last.ok;
  }
  if (last === null) throw new RangeError('give at least one load');
  const sum = (of: (entry: Entry) => number): number => loads.reduce((total, entry) => total + of(entry), 0);
  const encode_gb_s = Math.min(...loads.map((entry) => entry.encode_gb_s));
  return {
    ...common(last, options), ok, schema: 'virtcft/report/delta/1', params: { loads: options.load, seconds: options.seconds, interval_ms: options.interval_ms, cuts: CUTS, rounds: ROUNDS },
    stored_to_dirty: ratio(sum(({ stored_bytes }) => stored_bytes), sum(({ dirty_bytes }) => dirty_bytes)),
    stored_to_zstd1: ratio(sum(({ stored_bytes }) => stored_bytes), sum(({ zstd1_bytes }) => zstd1_bytes)),
    encode_to_memcpy: Math.min(...loads.map((entry) => entry.encode_to_memcpy)), encode_gb_s, loads,
  };
}

async function measure(world: World, program: string): Promise<Omit<Entry, 'load'>> {
  const { tip } = world.watch.state;
  if (tip === null) throw new Error('no cut was committed');
  await mkdir(join(root, '.artifacts/bench'), { recursive: true });
  const folder = await mkdtemp(join(root, '.artifacts/bench/delta-'));
  const store = await world.openStore();
  try {
    const trace = await traceDeltas(store, tip, CUTS, folder);
    const written = all(world.watch.facts, 'segments.stored').flatMap(({ data }) => data.segments).filter(({ hash }) => trace.segments.has(hash));
    const { bytes, encoded_bytes, zstd1_bytes, encode_s, copy_s } = JSON.parse((await run(program, [trace.path, String(ROUNDS)])).stdout) as Encoded;
    const [encoding, copying] = [distribution(encode_s.map((s) => bytes / s / 1e9)), distribution(copy_s.map((s) => bytes / s / 1e9))];
    return {
      captures: trace.captures, dirty_bytes: PAGE_BYTES * (written.reduce((sum, { dirty_pages }) => sum + dirty_pages, 0) + trace.blocks), changed_bytes: bytes,
      stored_bytes: trace.stored_bytes, state_bytes: trace.other_bytes, encoded_bytes, zstd1_bytes,
      encode_gb_s: encoding.p50 ?? 0, memcpy_gb_s: copying.p50 ?? 0, encode_to_memcpy: ratio(encoding.p50, copying.p50) ?? 0,
    };
  } finally {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  }
}
