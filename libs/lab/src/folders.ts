import { existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'virtcft-lab-';

/** A new folder for one lab, named after this process. */
export function labFolder(): string {
  return mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
}

/** Removes the folders of labs whose process is gone: the kernel takes away all else that a killed lab leaves. */
export async function sweepLabFolders(): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    const pid = /^virtcft-lab-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) await rm(join(tmpdir(), name), { recursive: true, force: true });
  }
}
