import type { CutRef } from '@virtcft/events';
import type { ContentFacts, CutFacts } from './garbage-facts.js';
import { chunkKey, imageKey, parseBaseKey, parseChunkKey, parseCutKey, parseImageKey, parsePackKey } from './keys.js';

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
  /** Every base and image of the store that can be read. */
  readonly contents: readonly ContentFacts[];
  /** Images that packs begin with which no cut holds yet, and keys of the packs that those refer to. */
  readonly pendingImages: ReadonlySet<string>;
  readonly pendingReferences: ReadonlySet<string>;
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
 * What may be removed (R23): manifests and packs that no retained cut reaches over its chains, nor over a reference of a pack that it reaches, bases where no chain of one ends, and images and chunks that
 * nothing of these names, after they were so for a grace. What may yet be committed is never garbage, nor are generation records, nor any content before
 * the first commit of a generation. Throws Unreachable when what a retained cut needs is not known.
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
  const inOrder = (a: Garbage, b: Garbage): number => rank(a.key) - rank(b.key) || (a.key < b.key ? 1 : -1);
  // An object marked just now waits for another look, also when there is no grace.
  const seen = (each: Garbage): boolean => question.marks.has(each.key) && due(each);
  return { remove: garbage.filter(seen).sort(inOrder), waiting: garbage.filter((each) => !seen(each)), marks };
}

/** What names others goes before what it names. */
const rank = (key: string): number => [parseCutKey, parsePackKey, parseBaseKey, parseImageKey, parseChunkKey].findIndex((parse) => parse(key) !== null);

/** By cut: its bases of which every chunk is there, by VM. Another one is none. */
function wholeBases({ contents, objects }: GarbageQuestion): Map<string, Map<string, string>> {
  const there = new Set(objects.map(({ key }) => key));
  const bases = new Map<string, Map<string, string>>();
  for (const { key, chunks } of contents) {
    const named = parseBaseKey(key);
    if (named === null || !there.has(key) || !chunks.every((hash) => there.has(chunkKey({ cluster: named.cluster, hash })))) continue;
    const of = bases.get(named.cut) ?? new Map<string, string>();
    bases.set(named.cut, of.set(named.vm, key));
  }
  return bases;
}

/** Keys of all that retained cuts need, and of the content of what may yet be committed. */
function reachable(question: GarbageQuestion): Set<string> {
  const { cuts, retained } = question;
  const known = new Map(cuts.map((cut) => [cut.hash, cut]));
  const bases = wholeBases(question);
  const kept = new Set<string>(question.pendingReferences);
  /** By cut: VMs whose older segments were followed through it already. */
  const followed = new Map<string, Set<string>>();
  /** The VMs of `open` whose chains go on behind the bases of this cut. */
  const behind = (cut: string | null, open: readonly string[]): readonly string[] => open.filter((vm) => {
    const base = cut === null ? undefined : bases.get(cut)?.get(vm);
    if (base !== undefined) kept.add(base);
    return base === undefined;
  });
  for (const start of retained) {
    let at = known.get(start);
    if (at === undefined) throw new Unreachable(`the manifest of retained cut ${start} is not in the store`);
    let open = behind(at.hash, at.vms);
    for (;;) {
      kept.add(at.key);
      for (const pack of [...at.packs, ...at.references]) kept.add(pack);
      const before = followed.get(at.hash) ?? new Set();
      const begins: readonly string[] = at.begins;
      open = open.filter((vm) => !begins.includes(vm) && !before.has(vm));
      followed.set(at.hash, new Set([...before, ...open]));
      open = behind(at.previous, open);
      if (open.length === 0) break;
      const previous: CutFacts | undefined = at.previous === null ? undefined : known.get(at.previous);
      if (previous === undefined) throw new Unreachable(`cut "${at.key}" builds on cut ${at.previous ?? 'none'}, which is not in the store`);
      at = previous;
    }
  }
  keepContents(question, kept);
  return kept;
}

function keepContents({ cuts, contents, pendingImages, generation, tip }: GarbageQuestion, kept: Set<string>): void {
  const stays = (key: string): boolean => kept.has(key) || isPending(key, generation, tip);
  const images = new Set([...pendingImages, ...cuts.filter(({ key }) => stays(key)).flatMap((cut) => cut.images)]);
  for (const { key, chunks } of contents) {
    const named = parseImageKey(key) ?? parseBaseKey(key);
    if (named === null || !(stays(key) || (key === imageKey(named) && images.has(named.hash)))) continue;
    kept.add(key);
    for (const hash of chunks) kept.add(chunkKey({ cluster: named.cluster, hash }));
  }
}

/** Whether it belongs to what may yet be committed. */
function isPending(key: string, generation: number, tip: GarbageQuestion['tip']): boolean {
  const named = parseCutKey(key) ?? parsePackKey(key) ?? parseBaseKey(key);
  return named !== null && (named.generation > generation || (named.generation === generation && (tip?.generation !== generation || named.epoch > tip.epoch)));
}

/** Packs that no cut holds yet, and that may be of one that is committed later. */
export const pendingPacks = ({ objects, generation, tip }: Pick<GarbageQuestion, 'objects' | 'generation' | 'tip'>): string[] =>
  objects.filter(({ key }) => parsePackKey(key) !== null && isPending(key, generation, tip)).map(({ key }) => key);

/** Why an object that nothing retained reaches is garbage; null when it is not. */
function uselessness(key: string, held: ReadonlySet<string>, { generation, tip }: GarbageQuestion): string | null {
  if (parseChunkKey(key) !== null || parseImageKey(key) !== null) {
    // Images come before the first pack that begins with them, by hours where disks are large.
    return tip?.generation === generation ? 'no base or image that is needed is made of it, and no disk began with it' : null;
  }
  const cut = parseCutKey(key);
  const base = parseBaseKey(key);
  if ((cut ?? base ?? parsePackKey(key)) === null || isPending(key, generation, tip)) return null;
  if (cut !== null) return 'the cut is not retained, and no retained one builds on it';
  if (base !== null) return 'no chain of a retained cut ends in it';
  return held.has(key) ? 'only cuts that are not retained hold it' : 'no cut holds it: its epoch was never committed';
}
