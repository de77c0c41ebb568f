import type { CutRef } from '@virtcft/events';
import { parseGeneration } from './generation-record.js';
import type { GenerationRecord } from './generation-record.js';
import { limits } from './limits.js';
import { cutsFrom, cutsPrefix, generationsPrefix, parseCutKey, parseGenerationKey } from './keys.js';
import { cutRefOf, parseManifest } from './manifest.js';
import type { Manifest } from './manifest.js';
import { concerning, CutBroken } from './object-source.js';
import type { ObjectSource } from './object-source.js';

export interface StoredCut {
  readonly ref: CutRef;
  readonly manifest: Manifest;
}

/** Reads one cut's manifest and checks that it is the one that `ref` names. Throws CutBroken. */
export async function readCut(source: ObjectSource, ref: Pick<CutRef, 'key' | 'hash'>): Promise<StoredCut> {
  return concerning(ref.key, async () => {
    const manifest = parseManifest(await source.get(ref.key), ref.hash);
    const found = cutRefOf(manifest);
    if (found.key !== ref.key) throw new CutBroken(ref.key, `it belongs at "${found.key}"`);
    return { ref: found, manifest };
  });
}

/**
 * The cut and all before it, newest first, along `previous` (R16: "before" follows hashes, not numbers). Throws CutBroken where the chain ends early. Who goes far has
 * those listed before the next one read ahead: nearly always they follow.
 */
export async function* walkCuts(source: ObjectSource, from: Pick<CutRef, 'key' | 'hash'>): AsyncGenerator<StoredCut> {
  const finder = new CutFinder(source);
  const ahead = new Map<string, Promise<StoredCut>>();
  let cut = await readCut(source, from);
  for (let walked = 0; ; walked++) {
    yield cut;
    const { previous } = cut.manifest;
    if (previous === null) return;
    const key = await finder.find(previous, cut);
    const reading = ahead.get(key) ?? readCut(source, { key, hash: previous });
    const guesses = finder.before(key, Math.min(walked, limits.cutReads));
    for (const passed of [...ahead.keys()].filter((each) => each >= key)) ahead.delete(passed);
    for (const guess of guesses) {
      if (ahead.has(guess.key)) continue;
      const guessed = readCut(source, guess);
      guessed.catch(() => undefined);
      ahead.set(guess.key, guessed);
    }
    cut = await reading;
  }
}

/** Where the cut before `successor` is; null when it is not in the store. */
export async function cutBefore(source: ObjectSource, successor: StoredCut): Promise<Pick<CutRef, 'key' | 'hash'> | null> {
  const { previous } = successor.manifest;
  if (previous === null) return null;
  try {
    return { key: await new CutFinder(source).find(previous, successor), hash: previous };
  } catch (error) {
    if (error instanceof CutBroken) return null;
    throw error;
  }
}

/** Epochs listed at once when looking for the cut before, twice as many each time: a base is near as a rule, and a folder looks at every object that it lists. */
const windowEpochs = { least: 64, most: 1024 } as const;

/** Finds the key of a manifest whose hash alone is known: near by first, then among all. */
class CutFinder {
  readonly #keys = new Map<string, string>();
  /** As last listed: those not yet walked over, the newest last. */
  #older: Pick<CutRef, 'key' | 'hash'>[] = [];
  #window: number = windowEpochs.least;
  #listedAll = false;
  constructor(readonly source: ObjectSource) {}

  async find(hash: string, successor: StoredCut): Promise<string> {
    const { cluster, generation, epoch } = successor.manifest;
    if (!this.#keys.has(hash)) {
      await this.#list(cutsPrefix(cluster, generation), cutsFrom(cluster, generation, Math.max(1, epoch - this.#window)), successor.ref.key);
      this.#window = Math.min(windowEpochs.most, this.#window * 2);
    }
    if (!this.#keys.has(hash) && !this.#listedAll) {
      await this.#list(cutsPrefix(cluster), '', successor.ref.key);
      this.#listedAll = true;
    }
    const key = this.#keys.get(hash);
    if (key === undefined) throw new CutBroken(successor.ref.key, `the cut before it, ${hash}, is not in the store`);
    return key;
  }

  /** What is listed before `key`, the newest first, as far as it is known. */
  before(key: string, count: number): Pick<CutRef, 'key' | 'hash'>[] {
    while ((this.#older.at(-1)?.key ?? '') >= key) this.#older.pop();
    return count === 0 ? [] : this.#older.slice(-count).reverse();
  }

  async #list(prefix: string, after: string, end: string): Promise<void> {
    this.#older = [];
    for await (const { key } of this.source.list(prefix, { after })) {
      if (key >= end) return;
      const named = parseCutKey(key);
      if (named === null) continue;
      this.#keys.set(named.hash, key);
      this.#older.push({ key, hash: named.hash });
    }
  }
}

/**
 * The committed-or-complete cuts of one generation that follow `after` (null: its first), in order, as the store alone shows them. Cuts of
 * other incarnations are void. Throws CutBroken for a damaged manifest, and where two cuts follow the same one.
 */
export async function successors(source: ObjectSource, of: { readonly cluster: string; readonly generation: number; readonly incarnation: string }, after: CutRef | null): Promise<StoredCut[]> {
  const following = new Map<string | null, StoredCut>();
  // Within the generation nothing before `after` can follow it; a basis is of an earlier generation.
  const start = after?.generation === of.generation ? after.key : '';
  for await (const { key } of source.list(cutsPrefix(of.cluster, of.generation), { after: start })) {
    const named = parseCutKey(key);
    if (named === null) throw new CutBroken(key, 'this is no key of a cut');
    const cut = await readCut(source, { key, hash: named.hash });
    if (cut.manifest.incarnation !== of.incarnation) continue;
    const rival = following.get(cut.manifest.previous);
    if (rival !== undefined) throw new CutBroken(key, `it and "${rival.ref.key}" both follow ${cut.manifest.previous ?? 'nothing'}`);
    following.set(cut.manifest.previous, cut);
  }
  const chain: StoredCut[] = [];
  for (let next = following.get(after?.hash ?? null); next !== undefined; next = following.get(next.ref.hash)) chain.push(next);
  return chain;
}

export interface Lineage {
  readonly record: GenerationRecord;
  /** The newest cut of the lineage; null when nothing was ever complete. */
  readonly tip: CutRef | null;
}

/**
 * What the store alone says is current: the newest generation record, and the last cut that follows its basis. Null when the store knows no
 * generation of this cluster. Throws CutBroken when the newest record is damaged or two contradict: then an operator decides.
 */
export async function lineage(source: ObjectSource, cluster: string): Promise<Lineage | null> {
  let newest: { generation: number; keys: string[] } = { generation: 0, keys: [] };
  for await (const { key } of source.list(generationsPrefix(cluster))) {
    const named = parseGenerationKey(key);
    if (named === null) throw new CutBroken(key, 'this is no key of a generation record');
    if (named.generation > newest.generation) newest = { generation: named.generation, keys: [key] };
    else if (named.generation === newest.generation) newest.keys.push(key);
  }
  const [key, rival] = newest.keys;
  if (key === undefined) return null;
  if (rival !== undefined) throw new CutBroken(rival, `generation ${newest.generation} has another record, "${key}"`);
  const record = await concerning(key, async () => parseGeneration(await source.get(key), key));
  const cuts = await successors(source, record, record.basis);
  return { record, tip: await newestOf(source, record) ?? cuts.at(-1)?.ref ?? record.basis };
}

/**
 * The newest cut of a generation whose earlier ones may be gone as garbage: its cuts are written one after the other, each when the one before is there, so
 * that the last is the tip, whatever is left in between.
 */
async function newestOf(source: ObjectSource, { cluster, generation, incarnation }: GenerationRecord): Promise<CutRef | null> {
  const keys: string[] = [];
  for await (const { key } of source.list(cutsPrefix(cluster, generation))) keys.push(key);
  for (const key of keys.reverse()) {
    const named = parseCutKey(key);
    if (named === null) throw new CutBroken(key, 'this is no key of a cut');
    const { ref, manifest } = await readCut(source, { key, hash: named.hash });
    if (manifest.incarnation === incarnation) return ref;
  }
  return null;
}
