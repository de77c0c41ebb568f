import type { CutRef } from '@virtcft/events';
import { parseDefinition } from './definition.js';
import { parseGeneration } from './generation-record.js';
import { readPack } from './fold-cut.js';
import { decodeChunk } from './image.js';
import { chainFacts, readContentFacts, readReferences } from './garbage-facts.js';
import { basesPrefix, chunkKey, imageKey, parseBaseKey, parseChunkKey, parseCutKey, parseDefinitionKey, parseGenerationKey, parseImageKey, parsePackKey } from './keys.js';
import { cutBefore, readCut } from './lineage.js';
import type { Manifest } from './manifest.js';
import { concerning, CutBroken } from './object-source.js';
import type { ObjectSource } from './object-source.js';
import { decodePack } from './pack.js';
import { checkSections } from './pages.js';
import { imagesOf, readImage } from './read-image.js';
import { readBase, StoredBases } from './stored-bases.js';

type CutName = Pick<CutRef, 'key' | 'hash'>;

export interface WholeCut {
  /** The newest that rests on nothing damaged; null when there is none. */
  readonly cut: CutName | null;
  /** Cuts above it that do not count. */
  readonly passed: number;
  /** The damaged object that the first of them rests on; null when none was passed. */
  readonly damaged: string | null;
}

/**
 * The newest cut from `from` on backwards whose chains lead through none of the damaged objects (R18). `before`: the cut before one, as the log tells it, for where a
 * manifest cannot be read. Reads as few manifests as the chains are long, and none below the oldest damage.
 */
export async function newestWholeCut(source: ObjectSource, cluster: string, from: CutName, damaged: ReadonlySet<string>, before: (cut: CutName) => CutName | null): Promise<WholeCut> {
  const oldest = Math.min(...[...damaged].map((key) => parseCutKey(key)?.epoch ?? parsePackKey(key)?.epoch ?? Number.POSITIVE_INFINITY));
  const images = [...damaged].some((key) => parseImageKey(key) !== null || parseChunkKey(key) !== null) ? new DamagedImages(source, cluster, damaged) : null;
  const bases = await wholeBases(source, cluster, damaged);
  let candidate: CutName | null = null;
  let open: readonly string[] = [];
  let passed = 0;
  /** Passed since the candidate: they fall with it. */
  let below = 0;
  let culprit: string | null = null;
  for (let at: CutName | null = from; at !== null; ) {
    const look: Look = await lookAt(source, at, damaged, images, bases);
    if (look.fault !== null) {
      culprit ??= look.fault;
      passed += below + 1;
      candidate = null;
      below = 0;
    } else {
      if (candidate === null) [candidate, open] = [at, look.vms];
      open = open.filter((vm) => !look.begins.includes(vm));
      // An image shows only where chains begin.
      if (open.length === 0 || (images === null && (parseCutKey(at.key)?.epoch ?? 0) < oldest)) return { cut: candidate, passed, damaged: culprit };
      below++;
      // What the cut before holds is needed, and it is not there.
      if (look.gap !== null) {
        culprit ??= look.gap;
        passed += below;
        candidate = null;
        below = 0;
      }
    }
    at = look.previous ?? before(at);
  }
  return { cut: null, passed: passed + below, damaged: culprit };
}

interface Look { readonly fault: string | null; readonly vms: readonly string[]; readonly begins: readonly string[]; readonly previous: CutName | null; /** Why the cut before cannot be read. */ readonly gap: string | null }

async function lookAt(source: ObjectSource, at: CutName, damaged: ReadonlySet<string>, images: DamagedImages | null, bases: StoredBases): Promise<Look> {
  let [previous, gap]: [CutName | null, string | null] = [null, null];
  try {
    const cut = await readCut(source, at);
    // It may be gone as garbage, where bases of it are there.
    previous = await cutBefore(source, cut).catch((error: unknown) => {
      if (!(error instanceof CutBroken)) throw error;
      gap = error.key;
      return null;
    });
    const { vms, packs, begins: begun } = await chainFacts(source, cut);
    const based = [at.hash, cut.manifest.previous].flatMap((hash) => (hash === null ? [] : vms.filter((vm) => bases.has(hash, vm))));
    const begins = [...begun, ...based];
    const fault = [at.key, ...packs].find((key) => damaged.has(key)) ?? await damagedBeneath(source, cut.manifest, damaged) ?? (begun.length === 0 ? null : await images?.beneath(cut.manifest) ?? null);
    return { fault, vms, begins, previous, gap };
  } catch (error) {
    if (!(error instanceof CutBroken)) throw error;
    return { fault: error.key, vms: [], begins: [], previous, gap };
  }
}

/** A damaged pack that those of this cut refer to. An index that cannot be read is another damage, which is not known yet. */
async function damagedBeneath(source: ObjectSource, manifest: Manifest, damaged: ReadonlySet<string>): Promise<string | null> {
  const older = [...damaged].map((key) => parsePackKey(key)).some((pack) => pack?.generation === manifest.generation && pack.epoch < manifest.epoch);
  if (!older) return null;
  const references = await readReferences(source, manifest).catch((error: unknown) => {
    if (!(error instanceof CutBroken)) throw error;
    return [];
  });
  return references.find((key) => damaged.has(key)) ?? null;
}

/** The bases that nothing damaged belongs to. */
async function wholeBases(source: ObjectSource, cluster: string, damaged: ReadonlySet<string>): Promise<StoredBases> {
  const without = new Set(damaged);
  if ([...damaged].some((key) => parseChunkKey(key) !== null)) {
    for await (const { key } of source.list(basesPrefix(cluster))) {
      const facts = await readContentFacts(source, key).catch((error: unknown) => {
        if (!(error instanceof CutBroken)) throw error;
        return null;
      });
      if (facts === null || facts.chunks.some((hash) => damaged.has(chunkKey({ cluster, hash })))) without.add(key);
    }
  }
  return StoredBases.list(source, cluster, without);
}

/** Which of the images that chains begin with are damaged, or have damaged chunks; each looked at once. */
class DamagedImages {
  readonly #known = new Map<string, string | null>();

  constructor(private readonly source: ObjectSource, private readonly cluster: string, private readonly damaged: ReadonlySet<string>) {}

  /** Of the full segments in the packs of this cut. */
  async beneath({ packs }: Manifest): Promise<string | null> {
    for (const pack of packs) {
      for (const { header } of (await readPack(this.source, pack)).segments) {
        for (const { hash } of header.parent === null ? imagesOf(header) : []) {
          const fault = await this.#look(hash);
          if (fault !== null) return fault;
        }
      }
    }
    return null;
  }

  async #look(hash: string): Promise<string | null> {
    const known = this.#known.get(hash);
    if (known !== undefined) return known;
    const { cluster, damaged } = this;
    const key = imageKey({ cluster, hash });
    const fault = damaged.has(key) ? key : (await readImage(this.source, cluster, hash)).chunks.flatMap((chunk) => (chunk === null ? [] : [chunkKey({ cluster, hash: chunk })])).find((each) => damaged.has(each)) ?? null;
    this.#known.set(hash, fault);
    return fault;
  }
}

/** Whether an object that was found damaged still is: somebody may have put it back from a copy. Of keys of another kind nothing is known: they are. */
export async function stillDamaged(source: ObjectSource, key: string): Promise<boolean> {
  const [cut, pack, image, chunk] = [parseCutKey(key), parsePackKey(key), parseImageKey(key), parseChunkKey(key)];
  try {
    if (parseGenerationKey(key) !== null) await concerning(key, async () => parseGeneration(await source.get(key), key));
    else if (parseDefinitionKey(key) !== null) await concerning(key, async () => parseDefinition(await source.get(key), key));
    else if (cut !== null) await readCut(source, { key, hash: cut.hash });
    else if (parseBaseKey(key) !== null) await readBase(source, key);
    else if (image !== null) await readImage(source, image.cluster, image.hash);
    else if (chunk !== null) await concerning(key, async () => decodeChunk(await source.get(key), chunk.hash));
    else if (pack !== null) {
      await concerning(key, async () => {
        for (const segment of decodePack(await source.get(key), pack.hash).segments) {
          checkSections(segment);
          await segment.device();
        }
      });
    } else return true;
    return false;
  } catch (error) {
    if (error instanceof CutBroken) return true;
    throw error;
  }
}
