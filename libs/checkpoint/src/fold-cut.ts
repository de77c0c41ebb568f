import type { CutRef } from '@virtcft/events';
import { sha256 } from '@virtcft/native';
import { storedImages } from './base-images.js';
import type { ImageSource } from './base-images.js';
import { Chain } from './chain.js';
import type { SegmentFact } from './chain.js';
import { limits } from './limits.js';
import { readCut, walkCuts } from './lineage.js';
import type { StoredCut } from './lineage.js';
import type { Manifest } from './manifest.js';
import { concerning, CutBroken } from './object-source.js';
import type { ObjectSource } from './object-source.js';
import { checkKinds } from './pages.js';
import { decodePack, decodePackIndex, packHeadBytes } from './pack.js';
import type { PackReference, Place } from './pack.js';
import { ReadAhead } from './read-ahead.js';
import type { Load } from './read-ahead.js';
import { ReferredSections, resolveSegment } from './references.js';
import { ReplicaFold } from './replica-fold.js';
import type { FoldStep } from './replica-fold.js';
import { decodeSegment } from './segment.js';
import { passingOver, StoredBases } from './stored-bases.js';
import type { BaseStart } from './stored-bases.js';

type PackRef = Manifest['packs'][number];
export interface StoredSegment extends SegmentFact {
  readonly pack: PackRef;
  readonly place: Place;
  /** Of its pack. */
  readonly references: readonly PackReference[];
}

/** Read of a pack at once to find its index; larger ones take a second read. */
const headBytes = 16 * 1024;

/**
 * Folds the cut from the store alone: back along the manifests to where every VM has a full segment or a base (or to what the folder already holds
 * of this lineage), then forward, with a few segments of one VM read ahead. A base that is broken is passed over where the chain behind it is there.
 * `images` gives what disks begin with; by default the store itself. Throws CutBroken with the key of the object at fault.
 */
export async function foldCut(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>, folder: string, options: { readonly images?: ImageSource } = {}): Promise<ReplicaFold> {
  const { manifest } = await readCut(source, cut);
  return passingOver(source, manifest.cluster, async (bases) => {
    const fold = await ReplicaFold.open({ folder, cluster: manifest.cluster, images: options.images ?? storedImages(source, manifest.cluster) });
    try {
      if (fold.tip?.hash !== cut.hash) await advanceTo(source, cut, fold, bases);
      return fold;
    } catch (error) {
      await fold.close();
      throw error;
    }
  });
}

/** Takes an open fold on to the cut, as `foldCut` does. Throws CutBroken, of a base too: then the fold may be damaged, and `foldCut` finds another way. */
export async function foldOn(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>, fold: ReplicaFold): Promise<void> {
  if (fold.tip?.hash !== cut.hash) await advanceTo(source, cut, fold, await StoredBases.list(source, fold.cluster));
}

async function advanceTo(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>, fold: ReplicaFold, bases: StoredBases): Promise<void> {
  const cuts = walkCuts(source, cut);
  const wanted = (await cuts.next()).value as StoredCut;
  const { manifest } = wanted;
  const { chains, starts } = await chainsTo(source, wanted, cuts, (vm) => fold.segmentOf(vm), bases);
  const channel = await Promise.all(manifest.packs.filter((pack) => pack.epoch === manifest.epoch).map(async (pack) => {
    const { host, channel: frames } = await readPack(source, pack);
    return { host, frames };
  }));
  const referred = new ReferredSections(source);
  const steps = chains.map((chain) => [chain.vm, chain.steps.map((segment): FoldStep => ({ ...segment, key: segment.pack.key, bytes: segment.place.length, load: () => readSegment(source, segment, referred), applied: ({ bytes }) => source.release?.(bytes) }))] as const);
  await fold.follow({ manifest, steps: new Map(steps), bases: starts, channel }).catch((error: unknown) => {
    throw (error as { code?: string }).code === 'FOLD_GAP' ? new CutBroken(cut.key, (error as Error).message, error) : error;
  });
}

/** A pack in full, with its hash checked. */
export async function readPack(source: ObjectSource, ref: PackRef): Promise<ReturnType<typeof decodePack>> {
  return concerning(ref.key, async () => {
    const pack = decodePack(await source.get(ref.key), ref.hash);
    if (pack.key !== ref.key || pack.bytes.length !== ref.bytes) throw new CutBroken(ref.key, 'it is not the pack that the manifest describes');
    return pack;
  });
}

interface Way { readonly chains: readonly Chain<StoredSegment>[]; readonly starts: ReadonlyMap<string, BaseStart> }

async function chainsTo(source: ObjectSource, { ref, manifest }: StoredCut, older: AsyncGenerator<StoredCut>, folded: (vm: string) => string | null, bases: StoredBases): Promise<Way> {
  const chains = Object.entries(manifest.vms).map(([vm, { segment }]) => new Chain<StoredSegment>(vm, segment, folded(vm)));
  const starts = new Map<string, BaseStart>();
  /** Those that go on behind this cut. */
  const behind = async (cut: string | null): Promise<Chain<StoredSegment>[]> => {
    for (const chain of chains) {
      const start = chain.missing === null || cut === null ? null : await bases.start(cut, chain.vm, chain.missing);
      if (start !== null) starts.set(chain.vm, start);
      if (start !== null) chain.begin();
    }
    return chains.filter(({ missing }) => missing !== null);
  };
  if ((await behind(ref.hash)).length === 0) return { chains, starts };
  const cuts = new ReadAhead(indexed(source, manifest, older), { reads: limits.cutReads, bytes: Infinity, begin: 0 });
  let open = chains;
  for (let at = await cuts.take(); at !== undefined; at = await cuts.take()) {
    // Those of one cut alone: a segment's parent is never stored later than the cut before its own.
    const { segments } = at;
    for (const chain of chains) chain.extend((hash) => segments.get(hash));
    open = await behind(at.previous);
    if (open.length === 0) return { chains, starts };
  }
  throw new CutBroken(ref.key, `segment ${open[0]?.missing} of "${open[0]?.vm}" is in no pack of it and of the cuts before`);
}

interface IndexedCut { readonly previous: string | null; readonly segments: ReadonlyMap<string, StoredSegment> }

/** The cut and those before it with the segments of their packs, without an end: undefined behind the first. */
function* indexed(source: ObjectSource, newest: Manifest, older: AsyncGenerator<StoredCut>): Generator<Load<IndexedCut | undefined>> {
  const read = async (manifest: Manifest): Promise<IndexedCut> => {
    const indexes = await Promise.all(manifest.packs.map((pack) => readIndex(source, pack, manifest)));
    return { previous: manifest.previous, segments: new Map(indexes.flat().map((segment) => [segment.hash, segment])) };
  };
  yield { bytes: 0, load: () => read(newest) };
  for (;;) {
    yield { bytes: 0, load: async () => {
      const next = await older.next();
      return next.done === true ? undefined : read(next.value.manifest);
    } };
  }
}

/** The segments of a pack, by its index alone. */
export async function readIndex(source: ObjectSource, pack: PackRef, { incarnation }: Manifest): Promise<StoredSegment[]> {
  return concerning(pack.key, async () => {
    let head = await source.get(pack.key, { offset: 0, length: Math.min(headBytes, pack.bytes) });
    const needed = packHeadBytes(head);
    if (needed > head.length) head = await source.get(pack.key, { offset: 0, length: needed });
    const { index, places } = decodePackIndex(head, pack.hash);
    source.release?.(head);
    if (index.incarnation !== incarnation) throw new CutBroken(pack.key, 'it is of another incarnation than the cut that names it');
    return index.segments.map(({ vm, hash, parent, kind }, at) => ({ vm, hash, parent, kind, pack, place: places.segments[at] as Place, references: index.references ?? [] }));
  });
}

/** One segment by range, with the pages of others that it refers to. Its own hash, which its successor or the manifest names, is what makes it trusted. */
async function readSegment(source: ObjectSource, segment: StoredSegment, referred: ReferredSections): Promise<ReturnType<typeof decodeSegment>> {
  return concerning(segment.pack.key, async () => {
    const bytes = await source.get(segment.pack.key, segment.place);
    const decoded = decodeSegment(bytes, segment.hash, await sha256(bytes));
    checkKinds(decoded);
    if (decoded.header.parent !== segment.parent || decoded.header.vm !== segment.vm) throw new CutBroken(segment.pack.key, `its index tells other things of the segment of "${segment.vm}" than its header`);
    return resolveSegment(decoded, segment.references, (reference) => referred.read(reference));
  });
}
