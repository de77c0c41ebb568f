import { execFile } from 'node:child_process';
import { cpus, release } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Machine } from './heading.js';

/** What a host said about itself when it registered. */
export interface HypervisorSeen { readonly accel: string; readonly tracker: string; readonly version: string }

export async function describeMachine(seen: HypervisorSeen, idle_cpu: number): Promise<Machine> {
  return { cores: cpus().length, kernel: release(), accel: seen.accel, tracker: seen.tracker, qemu: seen.version, idle_cpu };
}

/** Share of idle CPU time over `over_ms`. */
export async function idleCpu(over_ms = 1000): Promise<number> {
  const before = cpuTimes();
  await wait(over_ms);
  const after = cpuTimes();
  const all = after.all - before.all;
  return all <= 0 ? 0 : Math.round(Math.min(1, Math.max(0, (after.idle - before.idle) / all)) * 1000) / 1000;
}

function cpuTimes(): { idle: number; all: number } {
  let idle = 0, all = 0;
  for (const { times } of cpus()) {
    idle += times.idle;
    all += times.idle + times.user + times.nice + times.sys + times.irq;
  }
  return { idle, all };
}

/** The commit that is measured; `+changes` where the work tree differs, `unknown` outside a work tree. */
export async function measuredCommit(root: string): Promise<string> {
  const git = promisify(execFile);
  try {
    const { stdout: commit } = await git('git', ['-C', root, 'rev-parse', 'HEAD']);
    const { stdout: changes } = await git('git', ['-C', root, 'status', '--porcelain', '--untracked-files=no']);
    return `${commit.trim()}${changes.trim() === '' ? '' : '+changes'}`;
  } catch (error) {
    // No git, or a folder that is none of git's: a released archive.
    if (error instanceof Error && 'code' in error) return 'unknown';
    throw error;
  }
}
