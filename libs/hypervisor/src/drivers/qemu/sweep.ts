import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HypervisorError, codeOf } from '../../errors.js';
import { LIMITS } from './limits.js';
import { probeName } from './probe.js';

/** The VM directory below `runDir` that a command line's guest memory lies in, or null: how a QEMU of ours is known. */
export function vmDirectoryOf(argv: readonly string[], runDir: string): string | null {
  if (argv.includes(probeName(runDir))) return '.probe';
  const prefix = `mem-path=${runDir.replaceAll(',', ',,')}/`;
  for (const argument of argv) {
    if (!argument.startsWith('memory-backend-file,')) continue;
    const at = argument.indexOf(prefix);
    if (at < 0) continue;
    const rest = argument.slice(at + prefix.length);
    const end = rest.indexOf('/ram,');
    if (end > 0 && !rest.slice(0, end).includes('/')) return rest.slice(0, end);
  }
  return null;
}

/** Ends every QEMU whose memory lies below `runDir`, and removes the directories. `keep`: VMs of the caller itself. Returns what was found. */
export async function sweepRunDir(runDir: string, keep: ReadonlySet<string>): Promise<string[]> {
  const found = new Set<string>();
  const killed: number[] = [];
  for (const { pid, directory } of await hypervisorsBelow(runDir)) {
    if (keep.has(directory)) continue;
    found.add(directory);
    killed.push(pid);
    kill(pid);
  }
  const patience_ms = performance.now() + LIMITS.kill_ms;
  for (;;) {
    const alive = (await hypervisorsBelow(runDir)).filter(({ pid }) => killed.includes(pid));
    if (alive.length === 0) break;
    if (performance.now() > patience_ms) {
      throw new HypervisorError('vm-stuck', `QEMU (pid ${alive.map(({ pid }) => pid).join(', ')}) is still there ${LIMITS.kill_ms} ms after SIGKILL`);
    }
    await sleep(5);
  }
  for (const entry of await readdir(runDir, { withFileTypes: true })) {
    if (!entry.isDirectory() || keep.has(entry.name)) continue;
    const files = await readdir(join(runDir, entry.name));
    if (!files.includes('ram')) continue;
    found.add(entry.name);
    await rm(join(runDir, entry.name), { recursive: true, force: true });
  }
  return [...found].sort();
}

async function hypervisorsBelow(runDir: string): Promise<{ pid: number; directory: string }[]> {
  const result: { pid: number; directory: string }[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const directory = vmDirectoryOf(await argumentsOf(name), runDir);
    if (directory !== null) result.push({ pid: Number(name), directory });
  }
  return result;
}

/** Empty for a process that has ended meanwhile, is a zombie or a kernel thread. */
async function argumentsOf(pid: string): Promise<string[]> {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'latin1')).split('\0');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return [];
    throw error;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // It ended by itself in between.
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}
