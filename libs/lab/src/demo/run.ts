import { copyFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { GuestSilent } from '../guest-control.js';
import { readLoad } from '../guests.js';
import { Oracles } from '../oracles/all.js';
import type { DemoReport } from '../report/demo-report.js';
import { describeMachine, idleCpu, measuredCommit } from '../report/machine.js';
import { script } from '../site.js';
import { demoHosts, FILESYSTEM_DISK } from './cluster-file.js';
import { epochLine, failureLines, openDisplay, story, verdictLines, type Display } from './display.js';
import { epochFigures } from './figures.js';
import type { DemoOptions } from './options.js';
import { planKills, roomNeeded } from './script.js';
import { Story } from './story.js';
import { stamp, Timeline } from './timeline.js';
import { World } from './world.js';

export const root = join(import.meta.dirname, '..', '..', '..', '..');
const VERIFY_EVERY = 20; // I5: each VM is compared in full two seconds apart at the default interval
const LIVE_MS = 1_000;

/** Interrupted by a signal: everything was stopped, nothing was judged. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

export interface DemoSurroundings { readonly signal: AbortSignal; readonly display?: Display; /** What else runs beside, until it ends, once the story is over. */ readonly afterwards?: (world: World) => Promise<void> }

/** One run, from nothing to a judged report; nothing of it is left afterwards. */
export async function runDemo(options: DemoOptions, { signal, display = openDisplay(options.json), afterwards }: DemoSurroundings): Promise<DemoReport> {
  const plan = planKills(options.seed, options.kills, options.phases, options.failure);
  const load = readLoad(options.load);
  const room = { vms_per_host: roomNeeded(plan, load.disks === undefined ? 3 : 4) };
  const oracles = new Oracles(options.kills, load.disks === undefined ? [] : [{ vm: 'database', disk: FILESYSTEM_DISK }], plan.filter(({ kind }) => kind === 'freeze').length);
  const timeline = new Timeline((line) => { display.line(line); });
  const [idle_cpu, commit] = [await idleCpu(), await measuredCommit(root)];
  let close: () => Promise<void> = () => Promise.resolve();
  const interrupted = new Promise<never>((_, reject) => { signal.addEventListener('abort', () => { reject(new Interrupted('interrupted')); }, { once: true }); });
  const ending = new AbortController();
  const gaps_ms: number[] = [];
  try {
    timeline.note(`seed ${options.seed}: three hosts, a bus, the services`);
    const world = await Promise.race([interrupted, World.build({
      load, interval_ms: options.interval_ms, barrier: options.barrier, store: options.store, verify_every: VERIFY_EVERY, vms_per_host: room.vms_per_host,
      weather: { delay_ms: options.tunnel_delay_ms, loss_percent: options.tunnel_loss_percent, skew_ms: options.barrier_skew_ms },
      ...(options.mutant === null ? {} : { agent: script(`mutants/agent-${options.mutant}`) }),
    }, (lab, closing) => {
      close = async () => {
        await keepLogs(lab.dir);
        await closing();
      };
    })]);
    const tell = world.watch.onFact((fact) => {
      const text = story(fact);
      if (text !== null) timeline.note(text, fact.at_ms);
    });
    const told = new Story({ world, oracles, timeline, room, signal: ending.signal });
    const live = showLive(world, display, ending.signal);
    const gaps = sampleGaps(world, gaps_ms, ending.signal);
    const broken_off = await Promise.race([interrupted, (async () => {
      try {
        await begin(world, timeline);
        await told.play(plan);
        return null;
      } catch (error) {
        return explain(error, world);
      }
    })()]);
    if (broken_off !== null) timeline.note(`broken off: ${broken_off}`);
    if (afterwards !== undefined) await Promise.race([interrupted, afterwards(world)]);
    ending.abort();
    await Promise.all([live, gaps]);
    const { writer } = await world.outside.status();
    const lost = oracles.writes.oracle.violations;
    const registered = world.watch.state.hosts[demoHosts[0]];
    tell();
    world.watch.stop();
    // What a mutant is for has been shown; in any other run the store tells more about what was found.
    const shown = options.mutant !== null && oracles.list.some(({ violations }) => violations > 0);
    timeline.note(shown ? 'the oracles have found the mutant; everything is stopped' : 'everything is stopped; the cuts are read back from the store');
    await world.bus.close();
    await Promise.race([interrupted, judge(world, oracles, !shown)]);
    await keepFacts(world);
    const invariants = oracles.list.map((oracle) => oracle.verdict());
    const ok = broken_off === null && told.failures.length === options.kills && oracles.list.every((oracle) => oracle.holds);
    const { hosts, vms } = { hosts: [...demoHosts], vms: world.vms.map(({ name, memory_mib, role }) => ({ name, memory_mib, role })) };
    const tracker = world.tracker;
    const report: DemoReport = {
      schema: 'virtcft/report/demo/1', commit, load, ok,
      machine: await describeMachine({ accel: registered?.identity.accel ?? 'unknown', tracker, version: registered?.identity.version ?? 'unknown' }, idle_cpu),
      params: { seed: options.seed, interval_ms: options.interval_ms, barrier: options.barrier, kills: options.kills, store: options.store, load: options.load, failure: options.failure ?? 'any', tunnel_delay_ms: options.tunnel_delay_ms, tunnel_loss_percent: options.tunnel_loss_percent, barrier_skew_ms: options.barrier_skew_ms, ...(options.phases === null ? {} : { phases: [...options.phases] }), ...(options.mutant === null ? {} : { mutant: options.mutant }) },
      backend: registered?.identity.driver ?? 'qemu', tracker, seed: options.seed, interval_ms: options.interval_ms, store: options.store, hosts, vms,
      epochs: epochFigures(world.watch.facts, gaps_ms), client: { acked: writer.acked, lost, p50_ms: writer.latency_ms.p50, p99_ms: writer.latency_ms.p99 },
      failures: told.failures, invariants, timeline: [...timeline.lines], broken_off,
    };
    summarize(report, display);
    return report;
  } finally {
    ending.abort();
    await close();
  }
}

/** Every decision and report of the run, a line each. */
async function keepFacts({ watch }: World): Promise<void> {
  const folder = join(root, '.artifacts', 'demo');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'events.jsonl'), watch.facts.map((fact) => `${JSON.stringify(fact)}\n`).join(''));
}

/** What the services said outlives the run. */
async function keepLogs(lab: string): Promise<void> {
  const folder = join(root, '.artifacts', 'demo', 'logs');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const name of await readdir(lab)) if (name.endsWith('.log')) await copyFile(join(lab, name), join(folder, name));
}

async function begin(world: World, timeline: Timeline): Promise<void> {
  timeline.note('virtcft apply -f cluster.yaml --wait');
  await world.apply(false);
  timeline.note(`${world.vms.length} guests boot`);
  await world.booted();
  await world.outside.write();
  timeline.note('virtcft protect');
  await world.cli('protect', '--cluster', world.clusterName);
}

/** Stops what runs, then reads the log, and the store where asked, as they were left. */
async function judge(world: World, oracles: Oracles, readStore: boolean): Promise<void> {
  await world.outside.stop();
  await world.installation.stop();
  oracles.auditLog(world.watch.facts);
  if (!readStore) return;
  const store = await world.openStore();
  try {
    await oracles.auditStore(store, world.watch.facts);
  } finally {
    await store.close();
  }
}

async function showLive(world: World, display: Display, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { writer } = await world.outside.status();
    display.live(epochLine(world.watch.facts, writer.acked));
    await wait(LIVE_MS, undefined, { signal }).catch(ignoreAbort);
  }
}

async function sampleGaps(world: World, gaps_ms: number[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await wait(LIVE_MS, undefined, { signal }).catch(ignoreAbort);
    if (world.watch.state.stage !== 'running' || !world.watch.state.protected) continue;
    try {
      gaps_ms.push(...(await world.guests.gaps()).filter(({ samples }) => samples > 0).map(({ longest_us }) => longest_us / 1000));
    } catch (error) {
      // A guest that is being restored does not answer; whether it ever does again is asked by the oracles.
      if (!(error instanceof GuestSilent)) throw error;
    }
  }
}

function ignoreAbort(error: unknown): void {
  if (!(error instanceof Error) || error.name !== 'AbortError') throw error;
}

function explain(error: unknown, world: World): string {
  const fallen = world.installation.fallen().map(({ name, tail }) => `\n${name} has ended; its last words:\n${tail}`).join('');
  return `${error instanceof Error ? error.message : String(error)}${fallen}`;
}

function summarize(report: DemoReport, display: Display): void {
  display.line('');
  display.line('Timeline');
  for (const { at_ms, text } of report.timeline) display.line(`  ${stamp(at_ms)}  ${text}`);
  display.line('');
  display.line('Failures');
  for (const failure of report.failures) for (const line of failureLines(failure)) display.line(line);
  display.line('');
  display.line('Verdict');
  for (const line of verdictLines(report.invariants)) display.line(line);
  display.line('');
  display.line(report.ok ? `All invariants were checked often enough and held (${report.epochs.committed} cuts, ${report.client.acked} writes acknowledged).`
    : `RED${report.broken_off === null ? '' : `: ${report.broken_off}`}`);
}
