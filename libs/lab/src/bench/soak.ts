import { spawn } from 'node:child_process';
import type { Display } from '../demo/display.js';
import { Random } from '../demo/random.js';
import type { SoakReport } from '../report/bench-reports.js';
import { DemoReport, phases, type Phase } from '../report/demo-report.js';
import { distribution } from '../report/distribution.js';
import { script } from '../site.js';
import { common, phaseCounts, violationsOf } from './cluster-benches.js';
import type { BenchOptions } from './options.js';

const KILLS_PER_RUN = 2;
const FIRST: readonly Phase[] = ['idle', 'paused', 'captured', 'part-stored', 'manifest-not-logged', 'committed-not-released'];

/** Two phases to aim a run at: those that were hit least so far, chance among equals. The first cannot be one that needs a recovery before it. */
export function nextAims(hit: Readonly<Record<Phase, number>>, random: Random): [Phase, Phase] {
  const rarest = (among: readonly Phase[]): Phase => random.pick(among.filter((phase) => hit[phase] === Math.min(...among.map((each) => hit[each]))));
  const first = rarest(FIRST);
  return [first, rarest(phases.filter((phase) => phase !== first))];
}

/** The demo again and again, every run from nothing with another seed, the loads in turn. */
export async function benchSoak(options: BenchOptions, signal: AbortSignal, display: Display): Promise<SoakReport> {
  const random = new Random(options.seed);
  const reports: DemoReport[] = [];
  const failed_runs: SoakReport['failed_runs'] = [];
  const loads = options.load.split(',');
  for (let run = 0; run < options.runs && !signal.aborted; run += 1) {
    const seed = options.seed + run;
    const aims = nextAims(phaseCounts(reports.flatMap(({ failures }) => failures)), random);
    const load = loads[run % loads.length] ?? options.load;
    const result = await runOnce(seed, aims, { ...options, load });
    if ('reason' in result) failed_runs.push({ seed, reason: result.reason });
    else {
      reports.push(result);
      const broken = result.invariants.filter(({ violations, checks, checks_min }) => violations > 0 || checks < checks_min).map(({ name }) => name);
      if (!result.ok) failed_runs.push({ seed, reason: result.broken_off ?? `broken: ${broken.join(', ')}` });
    }
    const failures = 'reason' in result ? [] : result.failures;
    display.line(`run ${run + 1} of ${options.runs}, seed ${seed}, load ${load}, aimed at ${aims.join(', ')}: ${failed_runs.at(-1)?.seed === seed ? `RED (${failed_runs.at(-1)?.reason ?? ''})` : failures.map(({ phase, total_ms }) => `${phase} ${total_ms.toFixed(0)} ms`).join(', ')}`);
  }
  const last = reports.at(-1);
  if (last === undefined) throw new Error(`no run came to an end: ${failed_runs.map(({ reason }) => reason).join('; ')}`);
  const failures = reports.flatMap((report) => report.failures);
  return {
    ...common(last, options), params: { seed: options.seed, interval_ms: options.interval_ms, store: options.store, loads: options.load }, schema: 'virtcft/report/soak/1', ok: failed_runs.length === 0, runs: reports.length, kills: failures.length, phases: phaseCounts(failures),
    violations: reports.reduce((sum, report) => sum + violationsOf(report), 0), failed_runs, total_ms: distribution(failures.map(({ total_ms }) => total_ms)),
  };
}

/** In a process of its own, as a person would run it. */
async function runOnce(seed: number, aims: readonly Phase[], options: BenchOptions): Promise<DemoReport | { reason: string }> {
  const words = ['--json', '--seed', String(seed), '--kills', String(KILLS_PER_RUN), '--phases', aims.join(','), '--interval', String(options.interval_ms), '--load', options.load, '--store', options.store];
  const child = spawn(process.execPath, [script('demo/main'), ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, complaint] = ['', ''];
  child.stdout.on('data', (data: Buffer) => { out += data.toString(); });
  child.stderr.on('data', (data: Buffer) => { complaint += data.toString(); });
  const code = await new Promise<number | null>((resolve, reject) => { child.once('error', reject).once('close', resolve); });
  if (out.trim() === '') return { reason: `the demo ended with ${code ?? 'a signal'}: ${complaint.trim().slice(-2000)}` };
  return DemoReport.parse(JSON.parse(out));
}
