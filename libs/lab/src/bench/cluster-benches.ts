import { spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import type { Display } from '../demo/display.js';
import { all } from '../demo/facts.js';
import type { DemoOptions } from '../demo/options.js';
import { runDemo } from '../demo/run.js';
import type { World } from '../demo/world.js';
import type { IdleReport, RecoveryReport } from '../report/bench-reports.js';
import { phases, type DemoReport, type Phase } from '../report/demo-report.js';
import { distribution } from '../report/distribution.js';
import type { BenchOptions } from './options.js';

/** Phases that a single failure can hit, one after the other. */
const SINGLE: readonly Phase[] = ['idle', 'paused', 'captured', 'part-stored', 'manifest-not-logged', 'committed-not-released'];

export function demoOptions(options: BenchOptions, over: Partial<DemoOptions>): DemoOptions {
  return { seed: options.seed, interval_ms: options.interval_ms, barrier: 'coloured', kills: 0, store: options.store, load: options.load, keep: false, json: true, phases: null, mutant: null, failure: 'kill', tunnel_delay_ms: 0, tunnel_loss_percent: 0, barrier_skew_ms: 0, ...over };
}

export const violationsOf = (report: DemoReport): number => report.invariants.reduce((sum, { violations }) => sum + violations, 0);

export function phaseCounts(failures: readonly { readonly phase: Phase }[]): Record<Phase, number> {
  return Object.fromEntries(phases.map((phase) => [phase, failures.filter((failure) => failure.phase === phase).length])) as Record<Phase, number>;
}

/** One cluster that loses hosts again and again, each of which returns empty. */
export async function benchRecovery(options: BenchOptions, signal: AbortSignal, display: Display): Promise<RecoveryReport> {
  const report = await runDemo(demoOptions(options, { kills: options.kills, phases: SINGLE }), { signal, display });
  const of = (value: (failure: DemoReport['failures'][number]) => number | null): ReturnType<typeof distribution> => distribution(report.failures.flatMap((failure) => value(failure) ?? []));
  return {
    ...common(report, options), schema: 'virtcft/report/recovery/1', kills: report.failures.length, detect_ms: of(({ detect_ms }) => detect_ms), fence_ms: of(({ fence_ms }) => fence_ms),
    load_ms: of(({ load_ms }) => load_ms), total_ms: of(({ total_ms }) => total_ms), first_answer_ms: of(({ first_answer_ms }) => first_answer_ms),
    violations: violationsOf(report), phases: phaseCounts(report.failures),
  };
}

/** A protected cluster beside processes that want every core: nobody may be suspected. */
export async function benchIdle(options: BenchOptions, signal: AbortSignal, display: Display): Promise<IdleReport> {
  const busy = cpus().length;
  let false_alarms = 0;
  const burn = async ({ watch }: World): Promise<void> => {
    const processes = Array.from({ length: busy }, () => spawn(process.execPath, ['-e', 'for (;;) {}'], { stdio: 'ignore' }));
    try {
      await wait(options.minutes * 60_000, undefined, { signal });
      false_alarms = all(watch.facts, 'host.suspected').length + all(watch.facts, 'generation.raising').length;
    } finally {
      for (const each of processes) each.kill('SIGKILL');
    }
  };
  const report = await runDemo(demoOptions(options, {}), { signal, display, afterwards: burn });
  return { ...common(report, options), schema: 'virtcft/report/idle/1', minutes: options.minutes, false_alarms, epochs_committed: report.epochs.committed, busy_processes: busy };
}

/** What a bench takes over from the run it measured. */
export function common(report: DemoReport, options: BenchOptions): Pick<DemoReport, 'commit' | 'machine' | 'params' | 'load' | 'ok'> {
  const { commit, machine, load, ok } = report;
  return { commit, machine, load, ok, params: { seed: options.seed, interval_ms: options.interval_ms, store: options.store } };
}
