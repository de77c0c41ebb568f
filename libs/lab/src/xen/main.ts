import { CommanderError } from 'commander';
import { LabUnavailable } from '../namespaces.js';
import { writeReport } from '../report/write.js';
import { parseXenLabOptions } from './options.js';
import { Interrupted, root, runXenLab } from './run.js';

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => { interrupt.abort(); });

async function main(args: readonly string[]): Promise<number> {
  const options = parseXenLabOptions(args);
  const report = await runXenLab(options, interrupt.signal);
  const path = await writeReport(root, 'xen/report', report);
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : `Report: ${path}\n`);
  return report.ok ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else if (error instanceof Interrupted) process.exitCode = 130;
  else {
    process.stderr.write(`lab:xen: ${error instanceof LabUnavailable ? error.message : error instanceof Error ? error.stack ?? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
// Whatever is still waiting for an answer of what was stopped must not hold the process.
process.exit();
