import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { allCuts, Audit, CutBroken, foldCut, lineage, type ObjectSource, type ReplicaFold } from '../../src/index.js';
import type { CommittedCut, History } from '../history.js';
import { cluster } from '../samples.js';

/** What one damaged object led to. */
export interface Outcome {
  /** The audit names this very object. */
  readonly detected: boolean;
  /** A restore that gave other contents than the guests had. */
  readonly wrong: string | null;
  /** With nothing but the store, an earlier cut was taken for the newest: who knows the log does not. */
  readonly older: boolean;
}

/** Audits the store, and restores its tip both ways: by the name that the log has, and by what the store alone says. */
export async function judge(source: ObjectSource, history: History, damaged: string, scratch: string): Promise<Outcome> {
  const audit = new Audit(source, cluster);
  await audit.generations();
  await audit.bases();
  for (const cut of await allCuts(source, cluster, history.cuts.map(({ ref }) => ref))) await audit.cut(cut);
  const tip = history.cuts.at(-1) as CommittedCut;
  const named = await restored(source, tip, scratch);
  const found = await unlessRefused(async () => (await lineage(source, cluster))?.tip ?? null);
  const alone = history.cuts.find(({ ref }) => ref.key === found?.key);
  const wrong = named ?? (found !== null && alone === undefined ? `the store alone says ${found.key}, which no cut is` : alone === undefined || alone === tip ? null : await restored(source, alone, scratch));
  return { detected: audit.faults.some(({ key }) => key === damaged), wrong, older: alone !== undefined && alone !== tip };
}

/** What a refusal gives is nothing; any other error stays one. */
async function unlessRefused<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof CutBroken) return null;
    throw error;
  }
}

/** Null when the restore is refused or gives what the guests had; else what differs. */
async function restored(source: ObjectSource, cut: CommittedCut, scratch: string): Promise<string | null> {
  const folder = await mkdtemp(join(scratch, 'restore-'));
  try {
    const fold = await unlessRefused(() => foldCut(source, cut.ref, folder));
    if (fold === null) return null;
    try {
      return await difference(fold, cut);
    } finally {
      await fold.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function difference(fold: ReplicaFold, cut: CommittedCut): Promise<string | null> {
  const digests = await fold.digests();
  for (const [name, digest] of Object.entries(cut.digests)) if (digests[name] !== digest) return name;
  for (const [vm, device] of Object.entries(cut.device)) {
    const view = await fold.restoreView(vm);
    try {
      if ((await view.device()).toString() !== device) return `device state of ${vm}`;
    } finally {
      view.close();
    }
  }
  const frames = (channel: ReturnType<ReplicaFold['channel']>): string => JSON.stringify(channel.map(({ nic, frame }) => [nic, frame.toString('hex')]));
  return frames(fold.channel()) === frames(cut.packs.filter(({ epoch }) => epoch === cut.ref.epoch).flatMap(({ channel }) => channel)) ? null : 'channel state';
}
