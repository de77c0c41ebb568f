// Running programs from the steps: output is shown as it comes, a failure says what was run and what to do.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
export const cache = join(root, '.cache');

/** A step that cannot go on: the message says what is missing and what to do. */
export class StepFailed extends Error {}

export function say(text) {
  console.log(`virtcft: ${text}`);
}

/** Runs a program with its output shown; throws StepFailed with `advice` when it fails. */
export function run(command, args, { advice = '', ...options } = {}) {
  const ended = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (ended.error) throw new StepFailed(`cannot run ${command}: ${ended.error.message}. ${advice}`);
  if (ended.status !== 0) throw new StepFailed(`\`${[command, ...args].join(' ')}\` ended with ${ended.status ?? ended.signal}. ${advice}`);
}

/** Output of a program, or null when it is not there or fails. */
export function output(command, args, options = {}) {
  const ended = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], ...options });
  return ended.status === 0 ? ended.stdout.trim() : null;
}

/** Full path of a program in PATH (and the folders that only root has in it), or null. */
export function which(name) {
  for (const folder of [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/local/go/bin']) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch (error) {
      // Not in this folder; anything else than absence is for the caller that runs it to see.
      if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR' && error.code !== 'EACCES') throw error;
    }
  }
  return null;
}

/** As root, by sudo where we are not. */
export function runAsRoot(command, args, options = {}) {
  if (process.getuid() === 0) return run(command, args, options);
  if (!which('sudo')) throw new StepFailed(`\`${command} ${args.join(' ')}\` needs root and there is no sudo: run it as root once, then again this command`);
  return run('sudo', [command, ...args], options);
}

/** Is version `a` (dotted numbers) at least `b`? */
export function atLeast(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  for (let i = 0; i < right.length; i++) if ((left[i] ?? 0) !== right[i]) return (left[i] ?? 0) > right[i];
  return true;
}
