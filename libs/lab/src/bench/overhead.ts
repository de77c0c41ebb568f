import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import type { Display } from '../demo/display.js';
import { demoHosts } from '../demo/cluster-file.js';
import { all } from '../demo/facts.js';
import { runDemo } from '../demo/run.js';
import type { World } from '../demo/world.js';
import { CONTROL_SERVICES } from '../installation.js';
import type { OverheadReport } from '../report/bench-reports.js';
import type { DemoReport } from '../report/demo-report.js';
import { distribution, ratio } from '../report/distribution.js';
import { common, demoOptions } from './cluster-benches.js';
import type { BenchOptions } from './options.js';

type Entry = OverheadReport['loads'][number];
type Rates = Entry['protected'];

const CLOCK_TICKS_PER_S = 100; // USER_HZ, the same on every Linux
const SETTLE_MS = 2_000;

/** Guests' throughput with protection and without, in turns in one run, for each load. */
export async function benchOverhead(options: BenchOptions, signal: AbortSignal, display: Display): Promise<OverheadReport> {
  const loads: Entry[] = [];
  let last: DemoReport | null = null;
  let ok = true;
  for (const load of options.load.split(',')) {
    const measured: Omit<Entry, 'load'>[] = [];
    last = await runDemo(demoOptions(options, { load }), { signal, display, afterwards: async (world) => { measured.push(await compare(world, options.seconds * 1000)); } });
    ok &&= last.ok;
    for (const entry of measured) loads.push({ load, ...entry });
  }
  if (last === null) throw new RangeError('give at least one load');
  return { ...common(last, options), ok, schema: 'virtcft/report/overhead/1', params: { seconds: options.seconds, loads: options.load, interval_ms: options.interval_ms }, loads };
}

/** Protected, unprotected, protected, unprotected: what drifts hits both alike. */
async function compare(world: World, window_ms: number): Promise<Omit<Entry, 'load'>> {
  const rates: { protected: Rates[]; unprotected: Rates[] } = { protected: [], unprotected: [] };
  const cpu: number[] = [];
  const from = world.watch.facts.length;
  for (const kind of ['protected', 'unprotected', 'protected', 'unprotected'] as const) {
    await world.cli(kind === 'protected' ? 'protect' : 'unprotect', '--cluster', world.clusterName);
    await wait(SETTLE_MS);
    const before_s = cpuSeconds(world);
    rates[kind].push(await throughput(world, window_ms));
    if (kind === 'protected') cpu.push((cpuSeconds(world) - before_s) / (window_ms / 1000));
  }
  const [ours, theirs] = [mean(rates.protected), mean(rates.unprotected)];
  return {
    protected: ours, unprotected: theirs,
    ratio: { writes: ratio(ours.writes_per_s, theirs.writes_per_s), moves: ratio(ours.moves_per_s, theirs.moves_per_s), pages: ratio(ours.pages_per_s, theirs.pages_per_s) },
    output_delay_ms: distribution(all(world.watch.facts.slice(from), 'output.released').filter(({ data }) => data.frames > 0).map(({ data }) => data.oldest_ms)),
    cpu_share: Math.round(cpu.reduce((sum, each) => sum + each, 0) / cpu.length * 1000) / 1000, memory_bytes_per_vm: Math.round(agentBytes(world) / world.vms.length),
  };
}

async function throughput(world: World, window_ms: number): Promise<Rates> {
  const read = async (): Promise<{ acked: number; moves: number; pages: number; at_ms: number }> => {
    const [{ writer }, banks, patterns] = await Promise.all([world.outside.status(), world.guests.banks(), world.guests.patterns()]);
    return { acked: writer.acked, moves: banks.reduce((sum, { moves }) => sum + moves, 0), pages: [...patterns.values()].reduce((sum, { written }) => sum + written, 0), at_ms: performance.now() };
  };
  const before = await read();
  await wait(window_ms);
  const after = await read();
  const per_s = (later: number, earlier: number): number => Math.round((later - earlier) / ((after.at_ms - before.at_ms) / 1000) * 10) / 10;
  return { writes_per_s: per_s(after.acked, before.acked), moves_per_s: per_s(after.moves, before.moves), pages_per_s: per_s(after.pages, before.pages) };
}

function mean(rates: readonly Rates[]): Rates {
  const of = (value: (each: Rates) => number): number => Math.round(rates.reduce((sum, each) => sum + value(each), 0) / rates.length * 10) / 10;
  return { writes_per_s: of(({ writes_per_s }) => writes_per_s), moves_per_s: of(({ moves_per_s }) => moves_per_s), pages_per_s: of(({ pages_per_s }) => pages_per_s) };
}

const agents = demoHosts.map((host) => `agent-${host}`);

/** CPU time of our own processes so far; the guests' hypervisors are other processes. */
function cpuSeconds(world: World): number {
  return [...CONTROL_SERVICES, ...agents].reduce((sum, name) => {
    const { pid } = world.installation.program(name);
    if (pid === null) return sum;
    // The program's name may hold spaces; fields are counted from behind it.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return sum + (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_S;
  }, 0);
}

/** Memory of the agents that is theirs alone: bases and layers, and the process itself; not the guests' memory, which they only map. */
function agentBytes(world: World): number {
  return agents.reduce((sum, name) => {
    const { pid } = world.installation.program(name);
    if (pid === null) return sum;
    return sum + Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  }, 0);
}
