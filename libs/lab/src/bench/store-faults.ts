import { setTimeout as wait } from 'node:timers/promises';
import { Audit } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import { demoHosts } from '../demo/cluster-file.js';
import type { Display } from '../demo/display.js';
import { all, of, type Fact } from '../demo/facts.js';
import { phaseAt } from '../demo/phase.js';
import { Random } from '../demo/random.js';
import { root } from '../demo/run.js';
import { NotSeen } from '../demo/watch.js';
import { World } from '../demo/world.js';
import { readLoad, type Load } from '../guests.js';
import { auditOneVoice, auditPages, auditReleases } from '../oracles/log-audit.js';
import { Oracle } from '../oracles/oracle.js';
import { storeFaultTargets, type StoreFaultsReport, type StoreFaultTarget } from '../report/bench-reports.js';
import type { Phase } from '../report/demo-report.js';
import { distribution } from '../report/distribution.js';
import { describeMachine, idleCpu, measuredCommit, type HypervisorSeen } from '../report/machine.js';
import { phaseCounts } from './cluster-benches.js';
import type { BenchOptions } from './options.js';

/** One cluster bears that many; then everything begins anew. */
const SEEDS_PER_CLUSTER = 50;
const SETTLE_MS = 200; // what was published before the kill is known here
const BACK_MS = 120_000; // far above any return: this asks whether
const CUTS_AFTER = 3; // the first may have waited through the outage; the next have not
const DOWN_MS = { least: 200, most: 4_000 } as const;
const PATIENCE_MS = 30_000; // for a moment to strike at
const VERIFY_EVERY = 50; // cuts, each VM's memory is then compared in full
const DETAIL_LIMIT = 20;

/** When a seed strikes: after which fact, and how much later at most. */
const MOMENTS = [
  { after: 'epoch.opened', within_ms: 120 }, { after: 'segments.stored', within_ms: 6 }, { after: 'segments.stored', within_ms: 30 }, { after: 'epoch.committed', within_ms: 4 }, { after: 'epoch.committed', within_ms: 60 },
] as const;

export interface StoreFault { readonly seed: number; readonly target: StoreFaultTarget; readonly after: (typeof MOMENTS)[number]['after']; readonly delay_ms: number; readonly down_ms: number }

/** What a seed does; targets go in turns, so that each has its part however few seeds there are. */
export function planFault(seed: number): StoreFault {
  const random = new Random(seed);
  const moment = random.pick(MOMENTS);
  return {
    seed, target: storeFaultTargets[seed % storeFaultTargets.length] ?? 'minio', after: moment.after, delay_ms: random.below(moment.within_ms + 1),
    down_ms: DOWN_MS.least + random.below(DOWN_MS.most - DOWN_MS.least),
  };
}

interface Struck extends StoreFault { readonly at_ms: number; readonly back_ms: number; readonly phase: Phase }

/** What one cluster went through. */
interface Ordeal {
  readonly struck: readonly Struck[]; readonly commits: number; readonly objects: number; readonly read_bytes: number;
  readonly lost: ReadonlySet<string>; readonly detail: readonly string[]; readonly lost_writes: number; readonly raises: number; readonly violations: number;
  readonly failed: StoreFaultsReport['failed_runs'][number] | null; readonly seen: HypervisorSeen;
}

/** Kills MinIO, the replica store and the bus at seeded moments of epochs, under a cluster of real guests, and reads after each every cut that was announced. */
export async function benchStoreFaults(options: BenchOptions, signal: AbortSignal, display: Display): Promise<StoreFaultsReport> {
  const [idle_cpu, commit, load] = [await idleCpu(), await measuredCommit(root), readLoad(options.load)];
  const ordeals: Ordeal[] = [];
  for (let from = 0; from < options.runs && !signal.aborted;) {
    const seeds = Array.from({ length: Math.min(SEEDS_PER_CLUSTER, options.runs - from) }, (_, i) => options.seed + from + i);
    const one = await ordeal(seeds, options, load, signal, display);
    ordeals.push(one);
    from += one.struck.length + (one.failed === null ? 0 : 1);
  }
  const first = ordeals[0];
  if (first === undefined) throw new RangeError('give at least one run');
  const sum = (of: (ordeal: Ordeal) => number): number => ordeals.reduce((total, each) => total + of(each), 0);
  const struck = ordeals.flatMap((each) => each.struck);
  const by = (target: StoreFaultTarget): number => struck.filter((each) => each.target === target).length;
  const failed_runs = ordeals.flatMap(({ failed }) => failed ?? []);
  const [lost_commits, lost_writes] = [sum(({ lost }) => lost.size), sum((each) => each.lost_writes)];
  const violations = lost_commits + lost_writes + sum((each) => each.violations);
  return {
    schema: 'virtcft/report/store-faults/1', commit, machine: await describeMachine(first.seen, idle_cpu), load, ok: failed_runs.length === 0 && violations === 0,
    params: { seed: options.seed, interval_ms: options.interval_ms, store: options.store, runs: options.runs }, store: options.store,
    runs: struck.length, kills: struck.length, targets: { minio: by('minio'), 'replica-store': by('replica-store'), nats: by('nats') }, phases: phaseCounts(struck),
    down_ms: distribution(struck.map(({ down_ms }) => down_ms)), back_ms: distribution(struck.map(({ back_ms }) => back_ms)),
    commits: sum(({ commits }) => commits), objects: sum(({ objects }) => objects), read_bytes: sum(({ read_bytes }) => read_bytes), lost_commits, lost_writes, raises: sum(({ raises }) => raises),
    violations, failed_runs, detail: ordeals.flatMap(({ detail }) => detail).slice(0, DETAIL_LIMIT),
  };
}

/** Two hosts with a guest each, and one seed after the other; the next cluster begins anew where one did not come back. */
async function ordeal(seeds: readonly number[], options: BenchOptions, load: Load, signal: AbortSignal, display: Display): Promise<Ordeal> {
  let close: () => Promise<void> = () => Promise.resolve();
  let seed = seeds[0] ?? options.seed;
  let failed: Ordeal['failed'] = null;
  let lost_writes = 0;
  const struck: Struck[] = [];
  const oracles = [new Oracle('I2', 'output commit', 0), new Oracle('I3', 'one voice', 0), new Oracle('I5', 'no lost page', 0)] as const;
  try {
    const world = await World.build({ load, interval_ms: options.interval_ms, barrier: 'coloured', store: options.store, verify_every: VERIFY_EVERY, vms_per_host: 2, pair: true }, (_, closing) => { close = closing; });
    await world.apply(true);
    await world.booted();
    await world.outside.write();
    const store = await world.openStore();
    try {
      const check = new Announced(store, world);
      try {
        for (seed of seeds) {
          signal.throwIfAborted();
          const fault = planFault(seed);
          const each = await strike(world, fault);
          struck.push(each);
          await check.newCuts();
          const [writes, histories] = [await world.outside.check(), await world.outside.checkHistories()];
          const lost = writes.lost + writes.unknown + histories.reduce((sum, { broken }) => sum + broken, 0);
          lost_writes += lost;
          display.line(`seed ${seed}: ${each.target} killed while ${each.phase}, back after ${each.down_ms} ms, next cut ${each.back_ms} ms later; ${check.cuts} cuts announced, ${check.lost.size} lost; ${writes.acked} writes acknowledged, ${lost} lost`);
        }
      } catch (error) {
        signal.throwIfAborted();
        failed = { seed, reason: error instanceof NotSeen ? error.message : error instanceof Error ? error.stack ?? error.message : String(error) };
        display.line(`seed ${seed}: FAILED: ${failed.reason}`);
      }
      // Each object once more, by a reader that knows nothing: what was sound after one kill must be after the last.
      const anew = new Announced(store, world);
      await anew.newCuts();
      const { facts, state } = world.watch;
      auditReleases(facts, oracles[0]);
      auditOneVoice(facts, oracles[1]);
      auditPages(facts, oracles[2]);
      const host = state.hosts[demoHosts[0]];
      return {
        struck, commits: anew.cuts, objects: anew.objects, read_bytes: anew.read_bytes, lost: new Set([...check.lost, ...anew.lost]),
        detail: [...check.detail, ...anew.detail, ...oracles.flatMap((oracle) => oracle.verdict().detail)], lost_writes, raises: all(facts, 'generation.raising').length,
        violations: oracles.reduce((sum, { violations }) => sum + violations, 0), failed, seen: { accel: host?.identity.accel ?? 'unknown', tracker: world.tracker, version: host?.identity.version ?? 'unknown' },
      };
    } finally {
      await store.close();
    }
  } finally {
    await close();
  }
}

/** One kill, and the cluster's way back to committing. `back_ms`: from the server's return to the first cut decided after it. */
async function strike(world: World, fault: StoreFault): Promise<Struck> {
  const { watch, installation, minio } = world;
  await struckAfter(world, fault);
  const at_ms = performance.timeOrigin + performance.now();
  switch (fault.target) {
    case 'minio':
      if (minio === null) throw new Error('there is no MinIO of the lab\'s own to kill: use --store minio');
      await minio.kill();
      await wait(fault.down_ms);
      await minio.startAgain();
      break;
    case 'replica-store': {
      const program = installation.program('replica-store');
      program.signal('SIGKILL');
      await program.ended;
      await wait(fault.down_ms);
      installation.startService('replica-store');
      break;
    }
    case 'nats':
      await installation.nats.restart(fault.down_ms, 'kill');
  }
  const returned_ms = performance.timeOrigin + performance.now();
  const after = (): Fact[] => all(watch.facts, 'epoch.committed').map(({ fact }) => fact).filter((fact) => fact.at_ms >= returned_ms);
  await watch.until(`seed ${fault.seed}: ${CUTS_AFTER} cuts after ${fault.target} came back`, BACK_MS, () => watch.state.stage === 'running' && after().length >= CUTS_AFTER);
  await wait(SETTLE_MS);
  const phase = phaseAt(watch.facts, demoHosts[1], at_ms, false);
  return { ...fault, at_ms, phase, back_ms: Math.round((after()[0]?.at_ms ?? returned_ms) - returned_ms) };
}

async function struckAfter({ watch }: World, { seed, after, delay_ms }: StoreFault): Promise<void> {
  const from = watch.facts.length;
  await watch.until(`seed ${seed}: ${after}`, PATIENCE_MS, () => watch.facts.slice(from).some((fact) => of(fact, after) !== null));
  if (delay_ms > 0) await wait(delay_ms);
}

/** Reads every cut that the log announced, with all that it rests on. */
class Announced {
  readonly lost = new Set<string>();
  #audit: Audit | null = null;
  #done = 0;

  constructor(private readonly store: ObjectStore, private readonly world: World) {}

  get cuts(): number { return this.#done; }
  get objects(): number { return this.#audit?.objects ?? 0; }
  get read_bytes(): number { return this.#audit?.read_bytes ?? 0; }
  get detail(): string[] { return this.#audit?.faults.map(({ key, part, reason }) => `${key}: ${part}: ${reason}`) ?? []; }

  /** Those since the last call. */
  async newCuts(): Promise<void> {
    const announced: CutRef[] = all(this.world.watch.facts, 'epoch.committed').map(({ data }) => data.cut);
    const cluster = announced[0]?.key.split('/')[0];
    if (cluster === undefined) return;
    if (this.#audit === null) {
      this.#audit = new Audit(this.store, cluster);
      await this.#audit.generations();
    }
    for (const cut of announced.slice(this.#done)) if (!await this.#audit.cut(cut)) this.lost.add(cut.key);
    this.#done = announced.length;
  }
}
