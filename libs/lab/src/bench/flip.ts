import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { root } from '../demo/run.js';
import { readLoad } from '../guests.js';
import { FlipFound, type FlipReport } from '../report/bench-reports.js';
import { describeMachine, idleCpu, measuredCommit } from '../report/machine.js';
import { LabUnavailable } from '../namespaces.js';
import type { BenchOptions } from './options.js';

const TEST = 'libs/checkpoint/test/flips/';

/** Damage of every part of every kind of object, sealed and plain, judged by the audit and by restores: the test of libs/checkpoint with many more of them. */
export async function benchFlip(options: BenchOptions, signal: AbortSignal): Promise<FlipReport> {
  const [idle_cpu, commit] = [await idleCpu(), await measuredCommit(root)];
  await mkdir(join(root, '.artifacts/bench'), { recursive: true });
  const folder = await mkdtemp(join(root, '.artifacts/bench/flip-'));
  try {
    const file = join(folder, 'found.json');
    const code = await jest({ VIRTCFT_FLIPS: String(options.flips), VIRTCFT_FLIPS_SEED: String(options.seed), VIRTCFT_FLIPS_REPORT: file }, signal);
    const text = await readFile(file, 'utf8').catch(() => { throw new LabUnavailable(`${TEST} ended with ${code ?? 'a signal'} and found nothing: run it with \`npm test -- ${TEST}\``); });
    const found = FlipFound.parse(JSON.parse(text));
    return {
      schema: 'virtcft/report/flip/1', commit, machine: await describeMachine({ accel: 'none', tracker: 'none', version: 'none' }, idle_cpu), params: { flips: options.flips, seed: options.seed },
      load: readLoad('light'), ok: code === 0, ...found,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function jest(env: Readonly<Record<string, string>>, signal: AbortSignal): Promise<number | null> {
  const args = ['--experimental-vm-modules', join(root, 'node_modules/jest/bin/jest.js'), '--rootDir', root, '--silent', '--testTimeout', '14400000', TEST];
  // What it says goes to stderr: with --json the report alone is on standard output.
  const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 2, 2], signal, killSignal: 'SIGTERM' });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => { resolve(code); });
  });
}
