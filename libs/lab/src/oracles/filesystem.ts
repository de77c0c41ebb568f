import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ReplicaFold } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import { LabUnavailable } from '../namespaces.js';
import type { Oracle } from './oracle.js';

export interface GuestDisk { readonly vm: string; readonly disk: string }

const SOUND = 0, CORRECTED = 1; // exit codes of e2fsck(8)

/** Each disk of a cut, folded from the store alone, holds a file system that is sound once its journal is replayed, as after a power cut. */
export async function checkFilesystems(fold: ReplicaFold, cut: CutRef, disks: readonly GuestDisk[], oracle: Oracle): Promise<void> {
  if (disks.length === 0) return;
  const scratch = await mkdtemp(join(tmpdir(), 'virtcft-filesystem-'));
  try {
    for (const { vm, disk } of disks) {
      const complaint = await unsound(fold.diskPath(vm, disk), scratch);
      oracle.check(complaint === null, () => `cut ${cut.generation}-${cut.epoch}, disk "${disk}" of ${vm}: ${complaint ?? ''}`);
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** What is wrong with the ext4 file system of a raw image after its journal was replayed; null: nothing. The image itself is only read. */
export async function unsound(image: string, scratch: string): Promise<string | null> {
  const copy = join(scratch, 'copy.img');
  await run('cp', ['--sparse=always', image, copy]);
  try {
    // Not -y: asked to say yes it repairs the whole file system when the journal is broken, and nothing would ever be found.
    const replay = await run('e2fsck', ['-E', 'journal_only', '-p', copy]);
    if (replay.code !== SOUND && replay.code !== CORRECTED) return `its journal cannot be replayed: ${replay.said}`;
    const check = await run('e2fsck', ['-fn', copy]);
    return check.code === SOUND ? null : check.said;
  } finally {
    await rm(copy, { force: true });
  }
}

async function run(program: string, args: readonly string[]): Promise<{ code: number; said: string }> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, { env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` } });
    return { code: 0, said: lines(stdout, stderr) };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: number | string; stdout?: string; stderr?: string };
    if (code === 'ENOENT') throw new LabUnavailable(`the program ${program} is missing: npm run setup installs what the lab needs`, { cause: error });
    if (typeof code !== 'number') throw error;
    return { code, said: lines(stdout ?? '', stderr ?? '') };
  }
}

const lines = (...texts: string[]): string => texts.join('\n').split('\n').filter((line) => line !== '' && !/^(Pass|e2fsck \d)/.test(line)).slice(0, 5).join('; ');
