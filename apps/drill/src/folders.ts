import { readFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { limits } from './limits.js';

/** When a process began, in ticks since the machine did: with its id it names one process, though ids come again. Null: there is none. */
export function beganAt(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

/** A drill's own folder is named after its process. */
export const folderName = (id: string, pid: number, began: string): string => `${id}.${pid}.${began}`;

/** Those of drills whose process is gone. */
export function leftOver(names: readonly string[], began: (pid: number) => string | null): string[] {
  return names.filter((name) => {
    const [, pid, ticks] = /^drill-[0-9a-f]+\.([0-9]+)\.([0-9]+)$/.exec(name) ?? [];
    return pid !== undefined && ticks !== undefined && began(Number(pid)) !== ticks;
  });
}

/** Removes what killed drills left: the kernel took all else of them away. Returns the names. */
export async function sweepFolders(directory: string): Promise<string[]> {
  const left = leftOver(await readdir(directory), beganAt);
  for (const name of left) await removeFolder(join(directory, name));
  return left;
}

export const removeFolder = (folder: string): Promise<void> => rm(folder, { recursive: true, force: true, maxRetries: limits.removal_retries });
