import type { CutRef } from '@virtcft/events';
import { chunkLengthOf, partsOf } from './base.js';
import type { Chunked } from './base.js';
import { canonicalJson } from './canonical.js';
import { parseDefinition } from './definition.js';
import { readPack } from './fold-cut.js';
import { FormatError } from './format-error.js';
import { parseGeneration } from './generation-record.js';
import type { GenerationRecord } from './generation-record.js';
import { decodeChunk } from './image.js';
import { basesPrefix, chunkKey, cutsPrefix, definitionsPrefix, generationKey, generationsPrefix, parseBaseKey, parseCutKey } from './keys.js';
import { readCut, walkCuts } from './lineage.js';
import type { Manifest } from './manifest.js';
import { concerning, CutBroken } from './object-source.js';
import type { ObjectSource } from './object-source.js';
import { checkSections } from './pages.js';
import { imagesOf, readImage } from './read-image.js';
import { ReferredSections, resolvePack } from './references.js';
import type { SegmentHeader } from './segment.js';
import { readBase, StoredBases } from './stored-bases.js';

/** Something that is wrong in a store: which object, and which part of it. */
export interface Fault {
  readonly key: string;
  /** `manifest`, `page section`, ...; `object` where there is none or it is of another length, `chain` where what it builds on is nowhere. */
  readonly part: string;
  readonly reason: string;
}

export interface AuditOptions {
  /** Told of every object that was read, with its bytes; the next is read when it resolves. What it throws ends the audit. */
  readonly visited?: (key: string, bytes: number) => Promise<void> | void;
  /** Whether the cut of this key is in the store only for those that build on it, so that some of its VMs' chains may be gone. None when absent. */
  readonly partial?: (key: string) => boolean;
  /** Whether this object was removed as garbage meanwhile: a cut whose manifest was is none any more, and nothing is wrong with it. */
  readonly removed?: (key: string) => boolean;
  /** Lengths of chunks that were found sound, by hash: those are not read again. This audit adds to it. */
  readonly chunks?: Map<string, number>;
}

type CutName = Pick<CutRef, 'key' | 'hash'>;

const faultOf = ({ key, reason, cause }: CutBroken): Fault => ({
  key, reason: cause instanceof FormatError ? cause.reason : reason,
  part: cause instanceof FormatError ? cause.part : (cause as { code?: string } | undefined)?.code === 'EBADSECTION' ? 'page section' : 'object',
});

/**
 * Reads what cuts rest on, each object once and in full, and tells everything that is wrong, not only the first. Cuts are given in the order of
 * their keys; one's chains may end in the cut before. Trouble with the store itself is thrown.
 */
export class Audit {
  readonly faults: Fault[] = [];
  /** Cuts of which some VM cannot be restored, because of a fault in them or before them. */
  readonly broken: CutName[] = [];
  cuts = 0;
  objects = 0;
  read_bytes = 0;
  /** Cuts that generations began with: chains of others than the next may end in them. */
  readonly #bases = new Map<string, CutName>();
  /** By cut that was audited last, or is a basis: its VMs' segments. Those that cannot be restored are null. */
  readonly #ends = new Map<string, Record<string, string | null>>();
  readonly #images = new Map<string, boolean>();
  readonly #chunks: Map<string, number>;
  /** By cut and VM: the segment that a sound base stands for. */
  readonly #based = new Map<string, ReadonlyMap<string, string>>();
  readonly #listed = new Map<string, readonly { readonly key: string; readonly known: boolean }[]>();
  /** Keys of the generation records that were looked at; null while none were asked for. */
  #records: Set<string> | null = null;
  #last = '';
  readonly #source: ObjectSource;
  readonly #referred: ReferredSections;

  constructor(source: ObjectSource, readonly cluster: string, readonly options: AuditOptions = {}) {
    this.#chunks = options.chunks ?? new Map();
    this.#source = {
      get: async (key, range) => {
        const bytes = await source.get(key, range);
        this.objects++;
        this.read_bytes += bytes.length;
        await this.options.visited?.(key, bytes.length);
        return bytes;
      },
      list: (prefix, options) => source.list(prefix, options),
    };
    this.#referred = new ReferredSections(this.#source);
  }

  /** All generation records, and the definitions; before the cuts. */
  async generations(): Promise<GenerationRecord[]> {
    const records: GenerationRecord[] = [];
    this.#records = new Set();
    for await (const { key } of this.#source.list(generationsPrefix(this.cluster))) {
      this.#records.add(key);
      const record = await this.#unlessFaulty(() => concerning(key, async () => parseGeneration(await this.#source.get(key), key)));
      if (record === null) continue;
      records.push(record);
      if (record.basis !== null) this.#bases.set(record.basis.hash, record.basis);
    }
    for await (const { key } of this.#source.list(definitionsPrefix(this.cluster))) await this.#unlessFaulty(() => concerning(key, async () => parseDefinition(await this.#source.get(key), key)));
    return records;
  }

  /**
   * Knows of the bases that the store lists, before the cuts: those of the cuts that are audited are read in full, but of those in `known` no chunk. Gives
   * all their keys.
   */
  async findBases(known: ReadonlySet<string> = new Set()): Promise<string[]> {
    for await (const { key } of this.#source.list(basesPrefix(this.cluster))) {
      const cut = parseBaseKey(key)?.cut;
      if (cut !== undefined) this.#listed.set(cut, [...this.#listed.get(cut) ?? [], { key, known: known.has(key) }]);
    }
    return [...this.#listed.values()].flat().map(({ key }) => key);
  }

  /** As `findBases`, and reads all of them. */
  async bases(known: ReadonlySet<string> = new Set()): Promise<string[]> {
    const keys = await this.findBases(known);
    for (const cut of this.#listed.keys()) await this.#basedOn(cut);
    return keys;
  }

  /** By VM: the segments that sound bases at this cut stand for. */
  async #basedOn(cut: string): Promise<ReadonlyMap<string, string>> {
    const before = this.#based.get(cut);
    if (before !== undefined) return before;
    const based = new Map<string, string>();
    this.#based.set(cut, based);
    for (const { key, known } of this.#listed.get(cut) ?? []) {
      const faults = this.faults.length;
      const base = await this.#unlessFaulty(() => readBase(this.#source, key));
      const sound = base !== null && (known || await this.#chunksSound(partsOf(base)));
      if (this.options.removed?.(key) === true) this.faults.length = faults;
      else if (sound) based.set(base.vm, base.segment.hash);
    }
    return based;
  }

  /** Takes `cut` for sound without looking at what it holds: an earlier audit did. */
  async resume(cut: CutName): Promise<void> {
    const ends = await this.#endsOf(cut);
    if (ends !== undefined) this.#leave(cut, ends);
  }

  async #endsOf(cut: CutName): Promise<Record<string, string> | undefined> {
    const read = await this.#unlessFaulty(() => readCut(this.#source, cut));
    return read === null ? undefined : Object.fromEntries(Object.entries(read.manifest.vms).map(([vm, { segment }]) => [vm, segment]));
  }

  /** What chains may end in. A basis can be older than where this audit began, and is then taken for sound. */
  async #endsBefore({ previous }: Manifest): Promise<Record<string, string | null> | undefined> {
    if (previous === null) return {};
    const basis = this.#bases.get(previous);
    return this.#ends.get(previous) ?? (basis === undefined || this.broken.some(({ hash }) => hash === previous) ? undefined : this.#endsOf(basis));
  }

  /** Its manifest, packs and the images its chains begin with. True when every VM of it can be restored. */
  async cut(cut: CutName): Promise<boolean> {
    const [faults, broken] = [this.faults.length, this.broken.length];
    const sound = await this.#cut(cut);
    if (sound || this.options.removed?.(cut.key) !== true) return sound;
    this.faults.length = faults;
    this.broken.length = broken;
    return false;
  }

  async #cut(cut: CutName): Promise<boolean> {
    this.cuts++;
    const read = await this.#unlessFaulty(() => readCut(this.#source, cut));
    if (read === null) {
      this.broken.push(cut);
      return false;
    }
    const { manifest } = read;
    await this.#recordOf(manifest);
    // A base that is broken breaks no cut whose chain is there.
    const based = await this.#basedOn(cut.hash);
    const behind = manifest.previous === null ? null : await this.#basedOn(manifest.previous);
    const before = this.faults.length;
    const sound = new Map<string, SegmentHeader>();
    const ends = await this.#endsBefore(manifest);
    const roots = new Set([...Object.values(ends ?? {}), ...behind?.values() ?? []]);
    // Packs are sorted by epoch: a parent comes before its child.
    for (const ref of manifest.packs) {
      const pack = await this.#unlessFaulty(async () => {
        const found = await readPack(this.#source, ref);
        await concerning(ref.key, async () => {
          for (const segment of found.segments) {
            checkSections(segment);
            await segment.device();
          }
          await resolvePack(found, (reference) => this.#referred.read(reference));
        });
        if (found.incarnation !== manifest.incarnation) throw new CutBroken(ref.key, 'it is of another incarnation than the cut');
        return found;
      });
      for (const { hash, header } of pack?.segments ?? []) {
        const rests = header.parent === null ? await this.#imagesOf(header) : roots.has(header.parent) || (sound.get(header.parent)?.vm === header.vm);
        if (rests) sound.set(hash, header);
      }
    }
    const partial = this.options.partial?.(cut.key) === true;
    const mine: Record<string, string | null> = {};
    for (const [vm, told] of Object.entries(manifest.vms)) {
      const header = sound.get(told.segment);
      const kept = header === undefined && (ends?.[vm] === told.segment || based.get(vm) === told.segment);
      mine[vm] = header !== undefined || kept ? told.segment : null;
      if (header !== undefined && !agree(vm, told, header)) {
        this.faults.push({ key: cut.key, part: 'manifest', reason: `it tells other things of "${vm}" than its segment` });
        mine[vm] = null;
      }
      // A fault of this cut or of one before it says why already.
      const explained = this.faults.length > before || this.broken.some(({ hash }) => hash === manifest.previous) || Object.values(ends ?? {}).includes(null);
      if (mine[vm] === null && !explained && !partial) {
        this.faults.push({ key: cut.key, part: 'chain', reason: `what segment ${told.segment} of "${vm}" builds on is in no pack of it and of the cut before, ${manifest.previous ?? 'none'}` });
      }
    }
    this.#leave(cut, mine);
    const follows = this.broken.some(({ hash }) => hash === manifest.previous);
    if (this.faults.length === before && ((partial && !follows) || !Object.values(mine).includes(null))) return true;
    this.broken.push(cut);
    return false;
  }

  /** A generation that has cuts has its record, also one that began since the records were listed. */
  async #recordOf({ cluster, generation, incarnation }: Manifest): Promise<void> {
    const key = generationKey({ cluster, generation, incarnation });
    if (this.#records === null || this.#records.has(key)) return;
    this.#records.add(key);
    await this.#unlessFaulty(() => concerning(key, async () => parseGeneration(await this.#source.get(key), key)));
  }

  #leave(cut: CutName, ends: Record<string, string | null>): void {
    if (!this.#bases.has(this.#last)) this.#ends.delete(this.#last);
    this.#last = cut.hash;
    this.#ends.set(cut.hash, ends);
  }

  /** The images of a chain's beginning and all their chunks, each read once. */
  async #imagesOf(header: SegmentHeader): Promise<boolean> {
    let sound = true;
    for (const { hash, bytes } of imagesOf(header)) {
      const name = `${hash} of ${bytes}`;
      const known = this.#images.get(name) ?? await this.#image(hash, bytes);
      this.#images.set(name, known);
      sound &&= known;
    }
    return sound;
  }

  async #image(hash: string, bytes: number): Promise<boolean> {
    const image = await this.#unlessFaulty(() => readImage(this.#source, this.cluster, hash, bytes));
    return image !== null && this.#chunksSound([image]);
  }

  async #chunksSound(parts: readonly Chunked[]): Promise<boolean> {
    const before = this.faults.length;
    const seen = new Set<string>();
    for (const part of parts) {
      for (const [at, chunk] of part.chunks.entries()) {
        if (chunk === null || this.#chunks.get(chunk) === chunkLengthOf(part, at) || seen.has(chunk)) continue;
        seen.add(chunk);
        const key = chunkKey({ cluster: this.cluster, hash: chunk });
        const raw = await this.#unlessFaulty(() => concerning(key, async () => decodeChunk(await this.#source.get(key), chunk, chunkLengthOf(part, at))));
        if (raw !== null) this.#chunks.set(chunk, raw.length);
      }
    }
    return this.faults.length === before;
  }

  async #unlessFaulty<T>(read: () => Promise<T>): Promise<T | null> {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof CutBroken)) throw error;
      this.faults.push(faultOf(error));
      return null;
    }
  }
}

const agree = (vm: string, told: Manifest['vms'][string], header: SegmentHeader): boolean =>
  header.vm === vm && header.kind === told.kind && header.runState === told.runState && header.memory_bytes === told.memory_bytes && canonicalJson(header.disks) === canonicalJson(told.disks);

/** The cuts that `cut` needs to be restored, oldest first, itself the last: back to where every VM has a full segment or a base, or as far as they can be read. */
export async function cutsBehind(source: ObjectSource, cut: CutName): Promise<CutName[]> {
  const needed: CutName[] = [];
  try {
    let [open, bases]: [string[] | null, StoredBases | null] = [null, null];
    for await (const { ref, manifest } of walkCuts(source, cut)) {
      needed.unshift(ref);
      bases ??= await StoredBases.list(source, manifest.cluster);
      const { vms, previous } = manifest;
      const begins = (vm: string): boolean => vms[vm]?.kind === 'full' || bases?.has(ref.hash, vm) === true || (previous !== null && bases?.has(previous, vm) === true);
      open = (open ?? Object.keys(vms)).filter((vm) => !begins(vm));
      if (open.length === 0) break;
    }
  } catch (error) {
    if (!(error instanceof CutBroken)) throw error;
    // A manifest that cannot be read is among them, to be told; one whose key is unknown is told by its follower's chain.
    const named = parseCutKey(error.key);
    if (named !== null && !needed.some(({ key }) => key === error.key)) needed.unshift({ key: error.key, hash: named.hash });
  }
  return needed;
}

/** Every cut of a cluster that the store lists or the caller knows of, in the order of their keys: a listing alone is never trusted (R14). */
export async function allCuts(source: ObjectSource, cluster: string, known: readonly CutName[]): Promise<CutName[]> {
  const cuts = new Map(known.map((cut) => [cut.key, cut]));
  for await (const { key } of source.list(cutsPrefix(cluster))) {
    const named = parseCutKey(key);
    if (named !== null) cuts.set(key, { key, hash: named.hash });
  }
  return [...cuts.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

