import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { CutRef, Epoch, Identity, Mac, Name, RunState, Sha256 } from '@virtcft/events';
import { SegmentDisk } from './segment.js';

/** What a fold knows beside the images: the cut they hold, and the parts of it that are no memory. */
export const FoldTip = z.strictObject({
  format: z.literal('virtcft/fold/1'),
  cluster: z.uuid(),
  cut: CutRef,
  /** This boot of the machine: unsynced images outlive the process, not the kernel. */
  boot: z.string(),
  /** Of the images, written by an orderly close: with it they are trusted in another boot. */
  digests: z.record(z.string(), Sha256).nullable(),
  vms: z.record(Name, z.strictObject({
    host: Name, segment: Sha256, epoch: Epoch, runState: RunState, memory_bytes: z.int().min(4096), identity: Identity,
    device: z.base64(), device_bytes: z.int().min(0), disks: z.array(SegmentDisk),
  })),
  channel: z.array(z.strictObject({ host: Name, nic: Mac, frame: z.base64() })),
});
export type FoldTip = z.infer<typeof FoldTip>;
export type VmTip = FoldTip['vms'][string];

const tipPath = (folder: string): string => `${folder}/tip.json`;
const applyingPath = (folder: string): string => `${folder}/applying`;

const absent = (error: unknown): null => {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
};

/** The tip, or why what the folder holds is not to be trusted. */
export async function readTip(folder: string, cluster: string): Promise<FoldTip | { readonly discard: string }> {
  const text = await readFile(tipPath(folder), 'utf8').catch(absent);
  if (text === null) return { discard: 'nothing was folded here' };
  const interrupted = await readFile(applyingPath(folder), 'utf8').catch(absent);
  if (interrupted !== null) return { discard: `folding ${interrupted} was interrupted` };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { discard: `its tip cannot be read: ${(error as Error).message}` };
  }
  const tip = FoldTip.safeParse(value);
  if (!tip.success) return { discard: `its tip cannot be read: ${tip.error.issues[0]?.message}` };
  return tip.data.cluster === cluster ? tip.data : { discard: `it holds cluster ${tip.data.cluster}` };
}

/** From here until `endApplying` the images are in between two cuts. */
export const beginApplying = (folder: string, cut: string): Promise<void> => writeFile(applyingPath(folder), cut);

/** Not synced: a crash of the kernel is told by the boot, a crash of the process loses no write. */
export async function writeTip(folder: string, tip: FoldTip): Promise<void> {
  await writeFile(`${tipPath(folder)}.new`, JSON.stringify(tip));
  await rename(`${tipPath(folder)}.new`, tipPath(folder));
}

export const endApplying = (folder: string): Promise<void> => rm(applyingPath(folder), { force: true });

export const thisBoot = async (): Promise<string> => (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
