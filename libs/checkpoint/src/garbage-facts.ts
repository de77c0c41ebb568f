import type { CutRef } from '@virtcft/events';
import { chunksOf, partsOf } from './base.js';
import { Chain } from './chain.js';
import { readIndex } from './fold-cut.js';
import type { StoredSegment } from './fold-cut.js';
import { parseBaseKey, parseImageKey } from './keys.js';
import { readCut } from './lineage.js';
import type { StoredCut } from './lineage.js';
import type { Manifest } from './manifest.js';
import { concerning } from './object-source.js';
import type { ObjectSource } from './object-source.js';
import { decodePackIndex, packHeadBytes, packPreludeBytes } from './pack.js';
import type { Place } from './pack.js';
import { imagesOf, readImage } from './read-image.js';
import { decodeSegmentHeader, segmentHeadBytes } from './segment.js';
import { readBase } from './stored-bases.js';

/** What garbage is decided by, of one cut. Never changes: a caller may keep it. */
export interface CutFacts {
  readonly key: string;
  readonly hash: string;
  readonly previous: string | null;
  readonly packs: readonly string[];
  /** Keys of the packs that these refer to. */
  readonly references: readonly string[];
  readonly vms: readonly string[];
  /** VMs whose chain begins in the packs of this cut, so that nothing older is needed for them. */
  readonly begins: readonly string[];
  /** Hashes of the images that its disks began with. */
  readonly images: readonly string[];
}

/** Of a base or of an image, by its key: the chunks that it is made of. Never changes. */
export interface ContentFacts { readonly key: string; readonly chunks: readonly string[] }

/** Reads them. Throws CutBroken when an object is missing or damaged. */
export async function readCutFacts(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>): Promise<CutFacts> {
  const stored = await readCut(source, cut);
  return { ...await chainFacts(source, stored), references: await readReferences(source, stored.manifest) };
}

/** Keys of the packs that those of this cut refer to. Throws CutBroken. */
export async function readReferences(source: ObjectSource, manifest: Manifest): Promise<string[]> {
  const indices = await Promise.all(manifest.packs.map((pack) => readIndex(source, pack, manifest)));
  return [...new Set(indices.flat().flatMap(({ references }) => references.map(({ pack }) => pack)))];
}

/** Without what its packs refer to: needs no pack where no chain begins in it. */
export async function chainFacts(source: ObjectSource, { ref, manifest }: StoredCut): Promise<Omit<CutFacts, 'references'>> {
  const vms = Object.keys(manifest.vms);
  const packs = manifest.packs.map(({ key }) => key);
  const images = [...new Set(Object.values(manifest.vms).flatMap(({ disks }) => disks.flatMap(({ image }) => image ?? [])))];
  const facts = { key: ref.key, hash: ref.hash, previous: manifest.previous, packs, vms, images };
  const full = vms.filter((vm) => manifest.vms[vm]?.kind === 'full');
  // The image of a memory is named by the full segment that changes it, and by nothing that comes after.
  const withMemories = async (begins: readonly string[]): Promise<Omit<CutFacts, 'references'>> => {
    const begun = begins.length === 0 ? [] : (await Promise.all(packs.map((key) => readPackUses(source, key)))).flatMap((uses) => uses.images);
    return { ...facts, images: [...new Set([...images, ...begun])], begins };
  };
  // A full segment of an aborted epoch can be the beginning of a delta of this one (R2).
  if (full.length === vms.length || manifest.packs.every(({ epoch }) => epoch === manifest.epoch)) return withMemories(full);
  const segments = new Map<string, StoredSegment>();
  for (const pack of manifest.packs) for (const segment of await readIndex(source, pack, manifest)) segments.set(segment.hash, segment);
  return withMemories(vms.filter((vm) => new Chain<StoredSegment>(vm, manifest.vms[vm]?.segment ?? '', null).extend((hash) => segments.get(hash))));
}

/** Reads what an image or a base is made of. Throws CutBroken; null for the key of something else. */
export async function readContentFacts(source: ObjectSource, key: string): Promise<ContentFacts | null> {
  const image = parseImageKey(key);
  if (image !== null) return { key, chunks: [...chunksOf([await readImage(source, image.cluster, image.hash)])] };
  return parseBaseKey(key) === null ? null : { key, chunks: [...chunksOf(partsOf(await readBase(source, key)))] };
}

/** What a pack needs to be in the store: hashes of images, keys of packs. */
export interface PackUses { readonly images: readonly string[]; readonly packs: readonly string[] }

/** The images that full segments of this pack begin with, by their headers alone, and the packs that it refers to. Throws CutBroken. */
export async function readPackUses(source: ObjectSource, key: string): Promise<PackUses> {
  return concerning(key, async () => {
    let head = await source.get(key, { offset: 0, length: packPreludeBytes });
    head = await source.get(key, { offset: 0, length: packHeadBytes(head) });
    const { index, places } = decodePackIndex(head);
    const headers = await Promise.all(index.segments.map(async ({ kind }, at) => {
      const { offset, length } = places.segments[at] as Place;
      return kind === 'full' ? decodeSegmentHeader(await source.get(key, { offset, length: Math.min(length, segmentHeadBytes) })) : null;
    }));
    const images = headers.flatMap((header) => (header === null ? [] : imagesOf(header).map(({ hash }) => hash)));
    return { images, packs: [...new Set(index.references?.map(({ pack }) => pack))] };
  });
}
