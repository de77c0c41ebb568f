import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CutRef } from '@virtcft/events';
import type { ImageSource } from './base-images.js';
import { foldCut, readPack } from './fold-cut.js';
import { walkCuts } from './lineage.js';
import { imagesOf, readImage } from './read-image.js';
import { CutBroken } from './object-source.js';
import type { ObjectSource } from './object-source.js';

export type Verdict =
  /** `vms`: digests as a fold gives them, of memories and disks. */
  | { readonly ok: true; readonly vms: Readonly<Record<string, string>>; readonly objects: number }
  | { readonly ok: false; readonly key: string; readonly reason: string };

/**
 * Whether a cut can be restored from the store alone (I4): reads every object of its lineage, back to where every VM has a full segment, in
 * full, checks every hash, folds in a scratch folder, with the images that its disks begin with, and gives each digest. A damaged or missing
 * object is the verdict, by key; trouble with the store itself is thrown. Who verifies many cuts gives `images`, so that those are read once for all.
 */
export async function verifyCut(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>, options: { readonly scratch?: string; readonly images?: ImageSource } = {}): Promise<Verdict> {
  const folder = await mkdtemp(join(options.scratch ?? tmpdir(), 'virtcft-verify-'));
  try {
    const objects = await checkObjects(source, cut);
    const fold = await foldCut(source, cut, folder, options);
    try {
      return { ok: true, vms: await fold.digests(), objects };
    } finally {
      await fold.close();
    }
  } catch (error) {
    if (error instanceof CutBroken) return { ok: false, key: error.key, reason: error.reason };
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function checkObjects(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>): Promise<number> {
  let missing: Set<string> | null = null;
  let objects = 0;
  let cluster = '';
  const images = new Set<string>();
  for await (const { manifest } of walkCuts(source, cut)) {
    cluster = manifest.cluster;
    missing ??= new Set(Object.values(manifest.vms).map(({ segment }) => segment));
    objects++;
    // Packs are sorted by epoch, so that going backwards a parent comes after its child.
    for (const ref of manifest.packs.toReversed()) {
      const pack = await readPack(source, ref);
      if (pack.incarnation !== manifest.incarnation) throw new CutBroken(ref.key, 'it is of another incarnation than the cut');
      objects++;
      for (const { hash, header } of pack.segments) {
        if (!missing.delete(hash)) continue;
        if (header.parent !== null) missing.add(header.parent);
        else for (const image of imagesOf(header)) images.add(image.hash);
      }
    }
    if (missing.size === 0) break;
  }
  return objects + await countImages(source, cluster, images);
}

/** Images and their chunks, each once. The chunks are read by the fold, every byte of them. */
async function countImages(source: ObjectSource, cluster: string, images: ReadonlySet<string>): Promise<number> {
  const chunks = new Set<string>();
  for (const hash of images) for (const chunk of (await readImage(source, cluster, hash)).chunks) if (chunk !== null) chunks.add(chunk);
  return images.size + chunks.size;
}
