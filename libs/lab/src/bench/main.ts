import { CommanderError } from 'commander';
import { openDisplay, type Display } from '../demo/display.js';
import { Interrupted, root } from '../demo/run.js';
import { LabUnavailable } from '../namespaces.js';
import { writeReport } from '../report/write.js';
import { missedBars } from './bars.js';
import { benchIdle, benchRecovery } from './cluster-benches.js';
import { benchChain } from './chain.js';
import { benchCommit } from './commit.js';
import { benchDelta } from './delta.js';
import { benchFabric } from './fabric.js';
import { benchFlip } from './flip.js';
import { benchNbd } from './nbd.js';
import { parseBenchOptions, type BenchOptions } from './options.js';
import { benchOverhead } from './overhead.js';
import { benchPause } from './pause.js';
import { benchSeal } from './seal.js';
import { benchSeed } from './seed.js';
import { benchSoak } from './soak.js';
import { benchStoreFaults } from './store-faults.js';
import { benchWeather } from './weather.js';
import type { ReportOf } from '../report/schemas.js';

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => { interrupt.abort(); });

/** Writes the report and says which bars it misses. */
async function conclude<N extends Parameters<typeof missedBars>[0]>(name: N, report: ReportOf<N>, options: BenchOptions, display: Display): Promise<number> {
  const path = await writeReport(root, name, report);
  if (options.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else {
    const { commit: _commit, load: _load, machine: _machine, params: _params, ...figures } = report;
    display.line(JSON.stringify(figures, null, 2));
  }
  display.line(`Report: ${path}`);
  const missed = missedBars(name, report);
  for (const bar of missed) display.line(`MISSED: ${bar}`);
  if (options.check) display.line(missed.length === 0 && report.ok ? 'Every bar is reached.' : 'Not every bar is reached.');
  return report.ok && (!options.check || missed.length === 0) ? 0 : 1;
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseBenchOptions(args);
  const display = openDisplay(options.json);
  const { signal } = interrupt;
  switch (options.bench) {
    case 'pause': return conclude('bench/pause', await benchPause(options, signal), options, display);
    case 'recovery': return conclude('bench/recovery', await benchRecovery(options, signal, display), options, display);
    case 'idle': return conclude('bench/idle', await benchIdle(options, signal, display), options, display);
    case 'overhead': return conclude('bench/overhead', await benchOverhead(options, signal, display), options, display);
    case 'fabric': return conclude('bench/fabric', await benchFabric(options, signal, display), options, display);
    case 'nbd': return conclude('bench/nbd', await benchNbd(options, signal), options, display);
    case 'weather': return conclude('bench/weather', await benchWeather(options, signal, display), options, display);
    case 'delta': return conclude('bench/delta', await benchDelta(options, signal, display), options, display);
    case 'chain': return conclude('bench/chain', await benchChain(options, signal), options, display);
    case 'flip': return conclude('bench/flip', await benchFlip(options, signal), options, display);
    case 'seal': return conclude('bench/seal', await benchSeal(options, signal), options, display);
    case 'commit': return conclude('bench/commit', await benchCommit(options, signal, display), options, display);
    case 'store-faults': return conclude('bench/store-faults', await benchStoreFaults(options, signal, display), options, display);
    case 'seed': return conclude('bench/seed', await benchSeed(options, signal, display), options, display);
    case 'soak': return conclude('bench/soak', await benchSoak(options, signal, display), options, display);
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else if (error instanceof Interrupted || interrupt.signal.aborted) process.exitCode = 130;
  else {
    process.stderr.write(`bench: ${error instanceof LabUnavailable || error instanceof RangeError ? error.message : error instanceof Error ? error.stack ?? error.message : String(error)}\n`);
    process.exitCode = error instanceof RangeError ? 2 : 1;
  }
}
process.exit();
