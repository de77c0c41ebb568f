import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { labFolder, sweepLabFolders } from '../folders.js';
import { LabUnavailable } from '../namespaces.js';
import { Engine } from './engine.js';
import { makeStandIns } from './stand-ins.js';
import { Trial } from './trial.js';
import { judgeTrial, type TrialFacts } from './verdict.js';

const root = join(import.meta.dirname, '..', '..', '..', '..');
const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => { interrupt.abort(); });
const began = performance.now();
const say = (text: string): void => void process.stdout.write(`${((performance.now() - began) / 1_000).toFixed(1).padStart(6)} s  ${text}\n`);

async function main(): Promise<number> {
  if (process.getuid?.() !== 0) throw new LabUnavailable('the trial makes namespaces: run this as root');
  await sweepLabFolders();
  const dir = labFolder();
  const cache = join(root, '.cache', 'docker');
  mkdirSync(cache, { recursive: true });
  let seen: Omit<TrialFacts, 'left'> | null = null;
  const left: string[] = [];
  try {
    say('starting a Docker engine of its own in namespaces of its own');
    const engine = await Engine.start({ dataRoot: join(cache, 'data'), dir, dockerConfig: cache });
    try {
      const trial = new Trial(engine, { root, secrets: join(dir, 'secrets'), signal: interrupt.signal, say });
      say('making the images that would be pulled');
      await makeStandIns(engine, root, dir);
      try {
        seen = await trial.run();
      } catch (error) {
        if (!interrupt.signal.aborted) process.stderr.write(`${await trial.logs().catch(String)}\n`);
        throw error;
      } finally {
        left.push(...await trial.takeDown());
      }
    } finally {
      left.push(...await engine.stop());
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
  const findings = judgeTrial({ ...seen, left });
  for (const { check, ok, detail } of findings) process.stdout.write(`${ok ? 'held  ' : 'BROKEN'}  ${check}: ${detail}\n`);
  const broken = findings.filter(({ ok }) => !ok).length;
  say(broken === 0 ? `verdict: all ${findings.length} checks held` : `verdict: ${broken} of ${findings.length} checks are broken`);
  return broken === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = interrupt.signal.aborted ? 130 : 1;
  if (!interrupt.signal.aborted) process.stderr.write(`compose: ${error instanceof LabUnavailable ? error.message : error instanceof Error ? error.stack ?? error.message : String(error)}\n`);
}
process.exit();
