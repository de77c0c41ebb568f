import type { CutRef } from '@virtcft/events';
import { Chain } from './chain.js';
import { readIndex } from './fold-cut.js';
import type { StoredSegment } from './fold-cut.js';
import { parseCutKey, parsePackKey } from './keys.js';
import { readCut } from './lineage.js';
import type { ObjectSource } from './object-source.js';

/** What garbage is decided by, of one cut. Never changes: a caller may keep it. */
export interface CutFacts {
  readonly key: string;
  readonly hash: string;
  readonly previous: string | null;
  readonly packs: readonly string[];
  readonly vms: readonly string[];
  /** VMs whose chain begins in the packs of this cut, so that nothing older is needed for them. */
  readonly begins: readonly string[];
}

/** A retained cut builds on one that is not known: nothing may be removed until it is. */
export class Unreachable extends Error {
  readonly code = 'UNREACHABLE';
  override readonly name = 'Unreachable';
}

export interface Garbage { readonly key: string; readonly bytes: number; readonly why: string }

export interface GarbageQuestion {
  readonly objects: readonly { readonly key: string; readonly bytes: number }[];
  /** Every cut whose manifest is in the store. */
  readonly cuts: readonly CutFacts[];
  /** Hashes: what the policy keeps, and all pins. */
  readonly retained: ReadonlySet<string>;
  /** The generation that runs, and its newest cut: what was stored beyond it may yet be committed. */
  readonly generation: number;
  readonly tip: Pick<CutRef, 'generation' | 'epoch'> | null;
  /** By key: since when an object was found to be garbage each time, in milliseconds. */
  readonly marks: ReadonlyMap<string, number>;
  readonly now_ms: number;
  readonly grace_ms: number;
}

export interface Collected {
  /** In the order to remove them: manifests first, so that no cut looks whole that is not; newest first, so that each has those before it. */
  readonly remove: readonly Garbage[];
  /** Garbage whose grace has not ended. */
  readonly waiting: readonly Garbage[];
  /** For the next time. */
  readonly marks: ReadonlyMap<string, number>;
}

/**
 * What may be removed (R23): manifests and packs that no retained cut reaches over its chains, after they were so for a grace. What may yet be
 * committed is never garbage, nor are generation records, images and chunks. Throws Unreachable when what a retained cut needs is not known.
 */
export function collectGarbage(question: GarbageQuestion): Collected {
  const kept = reachable(question);
  const held = new Set(question.cuts.flatMap(({ packs }) => packs));
  const garbage: Garbage[] = [];
  for (const { key, bytes } of question.objects) {
    const why = kept.has(key) ? null : uselessness(key, held, question);
    if (why !== null) garbage.push({ key, bytes, why });
  }
  const marks = new Map(garbage.map(({ key }) => [key, Math.min(question.marks.get(key) ?? question.now_ms, question.now_ms)]));
  const due = ({ key }: Garbage): boolean => question.now_ms - (marks.get(key) ?? question.now_ms) >= question.grace_ms;
  const isManifest = ({ key }: Garbage): boolean => parseCutKey(key) !== null;
  const inOrder = (a: Garbage, b: Garbage): number => Number(isManifest(b)) - Number(isManifest(a)) || (a.key < b.key ? 1 : -1);
  // An object marked just now waits for another look, also when there is no grace.
  const seen = (each: Garbage): boolean => question.marks.has(each.key) && due(each);
  return { remove: garbage.filter(seen).sort(inOrder), waiting: garbage.filter((each) => !seen(each)), marks };
}

/** Keys of the manifests and packs that retained cuts need. */
function reachable({ cuts, retained }: GarbageQuestion): Set<string> {
  const known = new Map(cuts.map((cut) => [cut.hash, cut]));
  const kept = new Set<string>();
  /** By cut: VMs whose older segments were followed through it already. */
  const followed = new Map<string, Set<string>>();
  for (const start of retained) {
    let at = known.get(start);
    if (at === undefined) throw new Unreachable(`the manifest of retained cut ${start} is not in the store`);
    let open = at.vms;
    for (;;) {
      kept.add(at.key);
      for (const pack of at.packs) kept.add(pack);
      const before = followed.get(at.hash) ?? new Set();
      const begins: readonly string[] = at.begins;
      open = open.filter((vm) => !begins.includes(vm) && !before.has(vm));
      followed.set(at.hash, new Set([...before, ...open]));
      if (open.length === 0) break;
      const previous: CutFacts | undefined = at.previous === null ? undefined : known.get(at.previous);
      if (previous === undefined) throw new Unreachable(`cut "${at.key}" builds on cut ${at.previous ?? 'none'}, which is not in the store`);
      at = previous;
    }
  }
  return kept;
}

/** Why an object that nothing retained reaches is garbage; null when it is not. */
function uselessness(key: string, held: ReadonlySet<string>, { generation, tip }: GarbageQuestion): string | null {
  const cut = parseCutKey(key);
  const named = cut ?? parsePackKey(key);
  if (named === null) return null;
  const pending = named.generation > generation || (named.generation === generation && (tip?.generation !== generation || named.epoch > tip.epoch));
  if (pending) return null;
  if (cut !== null) return 'the cut is not retained, and no retained one builds on it';
  return held.has(key) ? 'only cuts that are not retained hold it' : 'no cut holds it: its epoch was never committed';
}

/** Reads them. Throws CutBroken when an object is missing or damaged. */
export async function readCutFacts(source: ObjectSource, cut: Pick<CutRef, 'key' | 'hash'>): Promise<CutFacts> {
  const { ref, manifest } = await readCut(source, cut);
  const vms = Object.keys(manifest.vms);
  const packs = manifest.packs.map(({ key }) => key);
  const facts = { key: ref.key, hash: ref.hash, previous: manifest.previous, packs, vms };
  const full = vms.filter((vm) => manifest.vms[vm]?.kind === 'full');
  // A full segment of an aborted epoch can be the beginning of a delta of this one (R2).
  if (full.length === vms.length || manifest.packs.every(({ epoch }) => epoch === manifest.epoch)) return { ...facts, begins: full };
  const segments = new Map<string, StoredSegment>();
  for (const pack of manifest.packs) for (const segment of await readIndex(source, pack, manifest)) segments.set(segment.hash, segment);
  return { ...facts, begins: vms.filter((vm) => new Chain<StoredSegment>(vm, manifest.vms[vm]?.segment ?? '', null).extend((hash) => segments.get(hash))) };
}
