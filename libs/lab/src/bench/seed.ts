import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import type { Display } from '../demo/display.js';
import { all, type Fact } from '../demo/facts.js';
import { root } from '../demo/run.js';
import { readLoad } from '../guests.js';
import type { SeedReport } from '../report/bench-reports.js';
import { distribution } from '../report/distribution.js';
import { describeMachine, idleCpu, measuredCommit, type HypervisorSeen } from '../report/machine.js';
import type { BenchOptions } from './options.js';
import { SeedWorld } from './seed-world.js';

const SEED_MS = 900_000;
const SAMPLE_MS = 200;

/** A large VM is brought into protection while it runs and works (R20): how long it takes, what the guests feel, what the services hold. */
export async function benchSeed(options: BenchOptions, signal: AbortSignal, display: Display): Promise<SeedReport> {
  const load = readLoad(options.load);
  const { memory_mib, fill_mib, rate_mib_per_s } = options;
  const [idle_cpu, commit] = [await idleCpu(), await measuredCommit(root)];
  const world = await SeedWorld.build({ load, interval_ms: options.interval_ms, memory_mib, fill_mib, seed_mib_per_s: rate_mib_per_s });
  const sampling = new AbortController();
  try {
    display.line(`A guest of ${memory_mib} MiB fills ${fill_mib} MiB ...`);
    await world.begin();
    const peaks = new Peaks(world, sampling.signal);
    display.line(`It is brought into protection at ${rate_mib_per_s} MiB/s ...`);
    const from = world.watch.facts.length;
    await world.cli('protect', '--cluster', 'seeding');
    const since = (): Fact[] => world.watch.facts.slice(from);
    const joined = await world.watch.until('the large VM joins', SEED_MS, () => all(since(), 'vm.joined')[0]);
    const first = await world.watch.until('a cut with it', SEED_MS, () => all(since(), 'segments.stored').find(({ data }) => data.segments.some(({ vm }) => vm === 'large')));
    const committed = await world.watch.until('its commit', SEED_MS, () => all(since(), 'epoch.committed').find(({ data }) => data.epoch >= first.data.epoch));
    display.line('It is protected; how it is afterwards ...');
    await wait(options.seconds * 1000, undefined, { signal });
    const patterns = [...(await world.guests.patterns()).values()];
    const stored = all(since(), 'segments.stored');
    const enabled = all(since(), 'protection.enabled')[0]?.fact.at_ms ?? 0;
    const seeded = all(since(), 'vm.seeded')[0]?.data;
    const pauses = (vms: readonly string[], within: (epoch: number) => boolean) =>
      distribution(stored.filter(({ data }) => within(data.epoch)).flatMap(({ data }) => data.pauses.filter(({ vm }) => vms.includes(vm)).map(({ pause_ms }) => pause_ms)));
    const joining = first.data.epoch;
    const commits = all(since(), 'epoch.committed').map(({ data, fact }) => ({ epoch: data.epoch, at_ms: fact.at_ms }));
    const opened = new Map(all(since(), 'epoch.opened').map(({ data, fact }) => [data.epoch, fact.at_ms]));
    const commits_ms = (within: (epoch: number) => boolean) => distribution(commits.filter(({ epoch }) => within(epoch)).flatMap(({ epoch, at_ms }) => at_ms - (opened.get(epoch) ?? at_ms)));
    const [during, after] = [(epoch: number): boolean => epoch < joining, (epoch: number): boolean => epoch > joining + 1];
    sampling.abort();
    return {
      schema: 'virtcft/report/seed/1', commit, machine: await describeMachine(await seenBy(world), idle_cpu), load, params: { memory_mib, fill_mib, rate_mib_per_s, interval_ms: options.interval_ms, seconds: options.seconds },
      ok: patterns.every(({ errors }) => errors === 0),
      memory_bytes: memory_mib * 2 ** 20, seeded_bytes: seeded?.seeded_bytes ?? 0, stored_bytes: seeded?.stored_bytes ?? 0, rounds: seeded?.rounds ?? 0,
      seed_s: Math.round((seeded?.seed_ms ?? 0) / 100) / 10, protected_s: Math.round((committed.fact.at_ms - enabled) / 100) / 10, rate_bytes_per_s: seeded === undefined ? 0 : Math.round(seeded.seeded_bytes / seeded.seed_ms * 1000),
      first_cut: { bytes: first.data.pack.bytes, dirty_pages: first.data.segments.find(({ vm }) => vm === 'large')?.dirty_pages ?? 0, pause_ms: first.data.pauses.find(({ vm }) => vm === 'large')?.pause_ms ?? null },
      pause_ms: { after: pauses(['large'], after) }, others_pause_ms: { during: pauses(['beside', 'other'], during), after: pauses(['beside', 'other'], after) },
      commit_ms: { during: commits_ms(during), after: commits_ms(after) }, epochs: { during: commits.filter(({ epoch }) => during(epoch)).length, during_s: Math.round((joined.fact.at_ms - enabled) / 100) / 10, aborted: all(since(), 'epoch.aborted').length },
      agent_peak_bytes: peaks.agent_bytes, agent_base_bytes: seeded?.seeded_bytes ?? 0, replica_store_peak_bytes: peaks.store_bytes,
    };
  } finally {
    sampling.abort();
    await world.close();
  }
}

/** What the host said of itself that the large VM stands on. */
async function seenBy(world: SeedWorld): Promise<HypervisorSeen> {
  const { hosts } = JSON.parse(await world.cli('get', 'hosts', '--output', 'json')) as { hosts: { host: string; tracker: string; identity: { accel: string; version: string } }[] };
  const host = hosts.find((each) => each.host === 'host-a');
  return { accel: host?.identity.accel ?? '', version: host?.identity.version ?? '', tracker: host?.tracker ?? '' };
}

/** The most that an agent and the replica store held of their own; not the guests' memory, which an agent only maps. */
class Peaks {
  agent_bytes = 0;
  store_bytes = 0;

  constructor(private readonly world: SeedWorld, signal: AbortSignal) { void this.#sample(signal); }

  async #sample(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.agent_bytes = Math.max(this.agent_bytes, this.#held('agent-host-a'));
      this.store_bytes = Math.max(this.store_bytes, this.#held('replica-store'));
      await wait(SAMPLE_MS);
    }
  }

  #held(program: string): number {
    const { pid } = this.world.installation.program(program);
    if (pid === null) return 0;
    try {
      return Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
    } catch {
      return 0; // it has just ended
    }
  }
}
