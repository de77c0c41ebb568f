import type { CutRef } from '@virtcft/events';
import { storedImages } from './base-images.js';
import type { ImageSource } from './base-images.js';
import { Chain } from './chain.js';
import type { SegmentFact } from './chain.js';
import { walkCuts } from './lineage.js';
import type { StoredCut } from './lineage.js';
import { cutRefOf } from './manifest.js';
import type { Manifest } from './manifest.js';
import { concerning, CutBroken } from './object-source.js';
import type { ObjectSource } from './object-source.js';
import { checkSections } from './pages.js';
import { decodePack, decodePackIndex, packHeadBytes } from './pack.js';
import type { Place } from './pack.js';
import { ReplicaFold } from './replica-fold.js';
import type { FoldStep } from './replica-fold.js';
import { decodeSegment } from './segment.js';

type PackRef = Manifest['packs'][number];
export interface StoredSegment extends SegmentFact {
  readonly pack: PackRef;
  readonly place: Place;
}

/** Read of a pack at once to find its index; larger ones take a second read. */
const headBytes = 64 * 1024;

/**
 * Folds the cut from the store alone: back along the manifests to where every VM has a full segment (or to what the folder already holds of
 * this lineage), then forward, one segment in memory at a time per VM. `images` gives what disks begin with; by default the store itself. Throws CutBroken with the key of the object at fault.
 */
export async function foldCut(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>, folder: string, options: { readonly images?: ImageSource } = {}): Promise<ReplicaFold> {
  const cuts = walkCuts(source, cut);
  const { manifest } = (await cuts.next()).value as StoredCut;
  const fold = await ReplicaFold.open({ folder, cluster: manifest.cluster, images: options.images ?? storedImages(source, manifest.cluster) });
  try {
    if (fold.tip?.hash === cut.hash) return fold;
    const chains = await chainsTo(source, manifest, cuts, (vm) => fold.segmentOf(vm));
    const channel = await Promise.all(manifest.packs.filter((pack) => pack.epoch === manifest.epoch).map(async (pack) => {
      const { host, channel: frames } = await readPack(source, pack);
      return { host, frames };
    }));
    const steps = chains.map((chain) => [chain.vm, chain.steps.map((segment): FoldStep => ({ ...segment, load: () => readSegment(source, segment) }))] as const);
    await fold.follow({ manifest, steps: new Map(steps), channel }).catch((error: unknown) => {
      throw (error as { code?: string }).code === 'FOLD_GAP' ? new CutBroken(cut.key, (error as Error).message, error) : error;
    });
    return fold;
  } catch (error) {
    await fold.close();
    throw error;
  }
}

/** A pack in full, with its hash checked. */
export async function readPack(source: ObjectSource, ref: PackRef): Promise<ReturnType<typeof decodePack>> {
  return concerning(ref.key, async () => {
    const pack = decodePack(await source.get(ref.key), ref.hash);
    if (pack.key !== ref.key || pack.bytes.length !== ref.bytes) throw new CutBroken(ref.key, 'it is not the pack that the manifest describes');
    return pack;
  });
}

async function chainsTo(source: ObjectSource, manifest: Manifest, older: AsyncGenerator<StoredCut>, folded: (vm: string) => string | null): Promise<Chain<StoredSegment>[]> {
  const chains = Object.entries(manifest.vms).map(([vm, { segment }]) => new Chain<StoredSegment>(vm, segment, folded(vm)));
  const known = new Map<string, StoredSegment>();
  let at: Manifest = manifest;
  for (;;) {
    for (const segments of await Promise.all(at.packs.map((pack) => readIndex(source, pack, at)))) for (const segment of segments) known.set(segment.hash, segment);
    const open = chains.filter((chain) => !chain.extend((hash) => known.get(hash)));
    if (open.length === 0) return chains;
    known.clear(); // a segment's parent is never stored later than the cut before its own
    const next = await older.next();
    if (next.done) throw new CutBroken(cutRefOf(manifest).key, `segment ${open[0]?.missing} of "${open[0]?.vm}" is in no pack of it and of the cuts before`);
    at = next.value.manifest;
  }
}

/** The segments of a pack, by its index alone. */
export async function readIndex(source: ObjectSource, pack: PackRef, { incarnation }: Manifest): Promise<StoredSegment[]> {
  return concerning(pack.key, async () => {
    let head = await source.get(pack.key, { offset: 0, length: Math.min(headBytes, pack.bytes) });
    const needed = packHeadBytes(head);
    if (needed > head.length) head = await source.get(pack.key, { offset: 0, length: needed });
    const { index, places } = decodePackIndex(head, pack.hash);
    if (index.incarnation !== incarnation) throw new CutBroken(pack.key, 'it is of another incarnation than the cut that names it');
    return index.segments.map(({ vm, hash, parent, kind }, at) => ({ vm, hash, parent, kind, pack, place: places.segments[at] as Place }));
  });
}

/** One segment by range. Its own hash, which its successor or the manifest names, is what makes it trusted. */
async function readSegment(source: ObjectSource, segment: StoredSegment): Promise<ReturnType<typeof decodeSegment>> {
  return concerning(segment.pack.key, async () => {
    const decoded = decodeSegment(await source.get(segment.pack.key, segment.place), segment.hash);
    checkSections(decoded);
    if (decoded.header.parent !== segment.parent || decoded.header.vm !== segment.vm) throw new CutBroken(segment.pack.key, `its index tells other things of the segment of "${segment.vm}" than its header`);
    return decoded;
  });
}
