import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import type { Display } from '../demo/display.js';
import { all, type Fact } from '../demo/facts.js';
import { runDemo } from '../demo/run.js';
import type { World } from '../demo/world.js';
import type { CommitReport } from '../report/bench-reports.js';
import { distribution, ratio } from '../report/distribution.js';
import { script } from '../site.js';
import { common, demoOptions } from './cluster-benches.js';
import type { BenchOptions } from './options.js';

const SETTLE_MS = 3_000;
const BETWEEN_PUTS_MS = 370; // no multiple of an interval, so that puts meet epochs at every moment of theirs

/** Of one committed epoch, milliseconds from its barrier's decision; `released` by the last host. */
export interface EpochTimes { readonly epoch: number; readonly stored_ms: number; readonly decided_ms: number; readonly released_ms: number; readonly bytes: number }

/** What the log and the reports say of epochs that every member stored as changes, without a full compare. */
export function epochTimes(facts: readonly Fact[]): EpochTimes[] {
  const reports = all(facts, 'segments.stored');
  const releases = all(facts, 'output.released');
  const commits = all(facts, 'epoch.committed');
  return all(facts, 'epoch.opened').flatMap(({ fact: { at_ms }, data: { generation, epoch, members } }) => {
    const same = (data: { generation: number; epoch: number }): boolean => data.generation === generation && data.epoch === epoch;
    const [stored, released, committed] = [reports.filter(({ data }) => same(data)), releases.filter(({ data }) => same(data)), commits.find(({ data }) => same(data))];
    const steady = stored.every(({ data }) => data.verified.checks === 0 && data.segments.every(({ kind }) => kind === 'delta'));
    if (committed === undefined || !steady || stored.length < members.length || released.length < members.length) return [];
    const last = (of: readonly { fact: Fact }[]): number => Math.max(...of.map(({ fact }) => fact.at_ms)) - at_ms;
    return [{ epoch, stored_ms: last(stored), decided_ms: committed.fact.at_ms - at_ms, released_ms: last(released), bytes: stored.reduce((sum, { data }) => sum + data.pack.bytes, 0) }];
  });
}

/** How long an epoch takes from its barrier to the release of its output, to how long its bytes take into the same store by themselves. */
export async function benchCommit(options: BenchOptions, signal: AbortSignal, display: Display): Promise<CommitReport> {
  let times: EpochTimes[] = [];
  const puts_ms: number[] = [];
  const measure = async (world: World): Promise<void> => {
    await wait(SETTLE_MS, undefined, { signal });
    const from = world.watch.facts.length;
    const putting = Putting.start(world);
    try {
      for (const until = performance.now() + options.seconds * 1000; performance.now() < until; await wait(BETWEEN_PUTS_MS, undefined, { signal })) {
        const newest = epochTimes(world.watch.facts.slice(-60)).at(-1);
        if (newest !== undefined) puts_ms.push(await putting.put(newest.bytes));
      }
    } finally {
      putting.end();
    }
    times = epochTimes(world.watch.facts.slice(from));
  };
  const report = await runDemo(demoOptions(options, {}), { signal, display, afterwards: measure });
  const of = (value: (epoch: EpochTimes) => number): ReturnType<typeof distribution> => distribution(times.map(value));
  const [commit_ms, put_ms] = [of(({ released_ms }) => released_ms), distribution(puts_ms)];
  return {
    ...common(report, options), schema: 'virtcft/report/commit/1', params: { seed: options.seed, interval_ms: options.interval_ms, store: options.store, seconds: options.seconds }, store: options.store,
    commit_ms, put_ms, ratio_to_put: ratio(commit_ms.p50, put_ms.p50), segment_bytes: of(({ bytes }) => bytes),
    parts_ms: { stored: of(({ stored_ms }) => stored_ms), decided: of(({ stored_ms, decided_ms }) => decided_ms - stored_ms), released: of(({ decided_ms, released_ms }) => released_ms - decided_ms) },
  };
}

/** A client of the store in the site, where the services are, too. */
class Putting {
  private constructor(private readonly child: ReturnType<typeof spawn>, private readonly answers: AsyncIterator<string>) {}

  static start({ lab, installation, minio }: World): Putting {
    const [first = '', ...words] = [...lab.site.machine.enter(), process.execPath, script('bench/commit-put'), installation.store];
    const child = spawn(first, words, { env: { ...process.env, ...installation.storeEnv, ...minio?.environment('replica-store') }, stdio: ['pipe', 'pipe', 'inherit'] });
    if (child.stdout === null) throw new Error('the client of the store has no output');
    return new Putting(child, createInterface({ input: child.stdout })[Symbol.asyncIterator]());
  }

  /** Milliseconds until so many bytes are durable. */
  async put(bytes: number): Promise<number> {
    this.child.stdin?.write(`${bytes}\n`);
    const { value, done } = await this.answers.next();
    if (done === true) throw new Error(`the client of the store ended (${String((await once(this.child, 'close'))[0])})`);
    return Number(value);
  }

  end(): void { this.child.stdin?.end(); }
}
