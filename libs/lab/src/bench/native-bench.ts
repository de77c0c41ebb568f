import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '../demo/run.js';

const run = promisify(execFile);

/** Builds a program of native/bench and gives its path; it needs what building the addon needs. `sources` are relative to native/bench. */
export async function nativeBench(name: string, sources: readonly string[] = [], libraries: readonly string[] = []): Promise<string> {
  const [from, built] = [join(root, 'native/bench'), join(root, 'native/build/bench')];
  await mkdir(built, { recursive: true });
  await run('g++', ['-std=c++20', '-O2', ...[`${name}.cc`, ...sources].map((source) => join(from, source)), '-o', join(built, name), ...libraries]);
  return join(built, name);
}
