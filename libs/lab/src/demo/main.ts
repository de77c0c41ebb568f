import { CommanderError } from 'commander';
import { LabUnavailable } from '../namespaces.js';
import { writeReport } from '../report/write.js';
import { openDisplay } from './display.js';
import { parseDemoOptions } from './options.js';
import { Interrupted, root, runDemo } from './run.js';
import type { World } from './world.js';

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => { interrupt.abort(); });

async function main(args: readonly string[]): Promise<number> {
  const options = parseDemoOptions(args);
  const display = openDisplay(options.json);
  const keep = async (world: World): Promise<void> => {
    const { servers, user } = world.installation.nats.options('operator');
    display.line(`The cluster runs on. From another terminal:\n  npm run virtcft -- --nats ${servers} --user ${user ?? ''} --password-file ${world.lab.dir}/operator.password status\nCtrl-C ends it.`);
    await new Promise<void>((resolve) => { interrupt.signal.addEventListener('abort', () => { resolve(); }, { once: true }); });
  };
  const report = await runDemo(options, { signal: interrupt.signal, display, ...(options.keep ? { afterwards: keep } : {}) });
  const path = await writeReport(root, 'demo/report', report);
  if (options.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else display.line(`Report: ${path}`);
  return report.ok ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else if (error instanceof Interrupted) process.exitCode = 130;
  else {
    process.stderr.write(`demo: ${error instanceof LabUnavailable || error instanceof RangeError ? error.message : error instanceof Error ? error.stack ?? error.message : String(error)}\n`);
    process.exitCode = error instanceof RangeError ? 2 : 1;
  }
}
// Whatever is still waiting for an answer of what was stopped must not hold the process.
process.exit();
