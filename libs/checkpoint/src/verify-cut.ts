import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CutRef } from '@virtcft/events';
import { chunksOf, partsOf } from './base.js';
import type { ImageSource } from './base-images.js';
import { foldCut, readPack } from './fold-cut.js';
import { parsePackKey } from './keys.js';
import { readCut, walkCuts } from './lineage.js';
import { imagesOf, readImage } from './read-image.js';
import { concerning, CutBroken } from './object-source.js';
import type { ObjectSource } from './object-source.js';
import { decodePack } from './pack.js';
import type { ReplicaFold } from './replica-fold.js';
import { passingOver } from './stored-bases.js';
import type { StoredBases } from './stored-bases.js';

export type Verdict =
  /** `vms`: digests as a fold gives them, of memories and disks. */
  | { readonly ok: true; readonly vms: Readonly<Record<string, string>>; readonly objects: number }
  | { readonly ok: false; readonly key: string; readonly reason: string };

/**
 * Whether a cut can be restored from the store alone (I4): reads every object of its lineage, back to where every VM has a full segment or a base, in
 * full, checks every hash, folds in a scratch folder, with the images that its disks begin with, and gives each digest. A damaged or missing
 * object is the verdict, by key; trouble with the store itself is thrown. Who verifies many cuts gives `images`, so that those are read once for all; who
 * wants to see what is folded gives `examine`.
 */
export async function verifyCut(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>, options: { readonly scratch?: string; readonly images?: ImageSource; readonly examine?: (fold: ReplicaFold) => Promise<void> } = {}): Promise<Verdict> {
  const folder = await mkdtemp(join(options.scratch ?? tmpdir(), 'virtcft-verify-'));
  try {
    const objects = await checkObjects(source, cut);
    const fold = await foldCut(source, cut, folder, options);
    try {
      const vms = await fold.digests();
      await options.examine?.(fold);
      return { ok: true, vms, objects };
    } finally {
      await fold.abandon();
    }
  } catch (error) {
    if (error instanceof CutBroken) return { ok: false, key: error.key, reason: error.reason };
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function checkObjects(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>): Promise<number> {
  const { manifest: { cluster } } = await readCut(source, cut);
  return passingOver(source, cluster, (bases) => checkLineage(source, cut, bases));
}

async function checkLineage(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>, bases: StoredBases): Promise<number> {
  /** By segment that is needed next: its VM. */
  const missing = new Map<string, string>();
  let objects = 0;
  let cluster = '';
  const images = new Set<string>();
  const chunks = new Set<string>();
  const [packs, referred] = [new Set<string>(), new Set<string>()];
  const begin = async (at: string | null): Promise<void> => {
    for (const [segment, vm] of [...missing]) {
      const start = at === null ? null : await bases.start(at, vm, segment);
      if (start === null) continue;
      missing.delete(segment);
      objects++;
      for (const chunk of chunksOf(partsOf(start.base))) chunks.add(chunk);
    }
  };
  for await (const { ref, manifest } of walkCuts(source, cut)) {
    if (objects === 0) {
      for (const [vm, { segment }] of Object.entries(manifest.vms)) missing.set(segment, vm);
      await begin(ref.hash);
    }
    cluster = manifest.cluster;
    objects++;
    // Packs are sorted by epoch, so that going backwards a parent comes after its child.
    for (const pack of manifest.packs.toReversed()) {
      const { incarnation, segments, references } = await readPack(source, pack);
      packs.add(pack.key);
      for (const each of references) referred.add(each.pack);
      if (incarnation !== manifest.incarnation) throw new CutBroken(pack.key, 'it is of another incarnation than the cut');
      objects++;
      for (const { hash, header } of segments) {
        if (!missing.delete(hash)) continue;
        if (header.parent !== null) missing.set(header.parent, header.vm);
        else for (const image of imagesOf(header)) images.add(image.hash);
      }
    }
    await begin(manifest.previous);
    if (missing.size === 0) break;
  }
  for (const hash of images) for (const chunk of chunksOf([await readImage(source, cluster, hash)])) chunks.add(chunk);
  // What is referred to by pages that a chain needs is read by the fold, too; here with all else that lies in those packs.
  for (const key of referred) {
    if (packs.has(key)) continue;
    await concerning(key, async () => decodePack(await source.get(key), parsePackKey(key)?.hash));
    objects++;
  }
  // The chunks are read by the fold, every byte of them.
  return objects + images.size + chunks.size;
}
