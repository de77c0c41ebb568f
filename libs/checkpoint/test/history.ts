import { createHash } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import type { CutRef } from '@virtcft/events';
import { chunkKey, decodePack, encodeImage, encodeGeneration, encodeManifest, encodePack, encodeSegment, imageKey, packParts } from '../src/index.js';
import type { EncodedSegment, Manifest, ObjectSource, Pack, PackReference } from '../src/index.js';
import { pageSection, patchWords } from './page-section.js';
import type { WrittenPage } from './page-section.js';
import { cluster, identity, noise } from './samples.js';

const pageBytes = 4096;
export const memoryPages = 24;
const chunkBytes = 1024 * 1024;
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** What the root disks begin with: a chunk of data, one of zeros, and a shorter one. */
export const rootContent = Buffer.concat([noise('root', 3 * pageBytes), Buffer.alloc(2 * chunkBytes - 3 * pageBytes), noise('tail', 5 * pageBytes), Buffer.alloc(pageBytes)]);
const rootChunks = [0, 1, 2].map((at) => rootContent.subarray(at * chunkBytes, (at + 1) * chunkBytes)).map((raw) => (raw.every((byte) => byte === 0) ? null : { hash: sha256(raw), stored: zstdCompressSync(raw) }));
export const rootImage = encodeImage({ bytes: rootContent.length, chunks: rootChunks.map((chunk) => chunk?.hash ?? null) });
/** The image and its chunks, which come first. */
export const rootObjects: readonly { readonly key: string; readonly bytes: Buffer }[] = [
  ...rootChunks.flatMap((chunk) => (chunk === null ? [] : [{ key: chunkKey({ cluster, hash: chunk.hash }), bytes: chunk.stored }])),
  { key: imageKey({ cluster, hash: rootImage.hash }), bytes: rootImage.bytes },
];
const dataBlocks = 9;

/** Objects in memory, as a store of a test. */
export class Objects implements ObjectSource {
  readonly map = new Map<string, Buffer>();
  reads = 0;
  async get(key: string, range?: { offset: number; length: number }): Promise<Buffer> {
    this.reads++;
    const body = this.map.get(key);
    if (body === undefined) throw Object.assign(new Error(`no object "${key}"`), { code: 'OBJECT_MISSING' });
    if (range && range.offset + range.length > body.length) throw Object.assign(new Error('too short'), { code: 'OBJECT_CORRUPT' });
    return range ? body.subarray(range.offset, range.offset + range.length) : body;
  }
  async put(key: string, body: Buffer): Promise<'created' | 'exists'> {
    const there = this.map.get(key);
    if (there !== undefined && !there.equals(body)) throw Object.assign(new Error(`object "${key}" exists`), { code: 'OBJECT_CONFLICT' });
    this.map.set(key, body);
    return there === undefined ? 'created' : 'exists';
  }
  async stat(key: string): Promise<{ bytes: number } | null> {
    const bytes = this.map.get(key)?.length;
    return bytes === undefined ? null : { bytes };
  }
  async *list(prefix: string, options: { after?: string } = {}): AsyncGenerator<{ key: string }> {
    for (const key of [...this.map.keys()].sort()) if (key.startsWith(prefix) && key > (options.after ?? '')) yield { key };
  }
}

interface Disk {
  readonly name: string;
  readonly image: string | null;
  readonly content: Buffer;
}
interface State {
  readonly memory: Buffer;
  readonly disks: readonly Disk[];
}
interface Guest {
  readonly vm: string;
  host: string;
  memory: Buffer;
  disks: readonly Disk[];
  /** Content as of the last stored segment, the parent of the next. */
  parent: (State & { hash: string }) | null;
  kind: 'full' | 'delta';
}
interface Stored {
  readonly pack: Pack;
  /** By content: the pages that its segments hold raw. */
  readonly raw: ReadonlyMap<string, Known>;
  readonly states: ReadonlyMap<string, State>;
}

interface Known { readonly reference: PackReference; readonly page: number }

const stateOf = ({ memory, disks }: State): State => ({ memory: Buffer.from(memory), disks: disks.map((disk) => ({ ...disk, content: Buffer.from(disk.content) })) });
/** Even VMs have disks: a root on the image; the first one another, of no image. */
const disksOf = (at: number): Disk[] => [
  ...(at % 2 === 0 ? [{ name: 'root', image: rootImage.hash, content: Buffer.from(rootContent) }] : []),
  ...(at === 0 ? [{ name: 'data', image: null, content: Buffer.alloc(dataBlocks * pageBytes) }] : []),
];
export interface CommittedCut {
  readonly ref: CutRef;
  readonly manifest: Manifest;
  readonly packs: readonly Pack[];
  /** SHA-256 of each VM's memory at the cut, and of each disk as `<vm>/<disk>`. */
  readonly digests: Readonly<Record<string, string>>;
  readonly device: Readonly<Record<string, string>>;
}

/** What happens in one epoch. */
export interface EpochEvents {
  /** Pages written, by VM and page number; the value makes the content: 0 a zero page. Each also writes a block of one of the VM's disks. */
  readonly writes: readonly (readonly [vm: number, page: number, value: number])[];
  /** Whether host a, host b stored its pack. All stored: committed, else aborted. */
  readonly stored: readonly [boolean, boolean];
  /** The decision aborts although all stored (a deadline). */
  readonly late: boolean;
  /** This VM's chain is cut: its next segment is full. */
  readonly full: number | null;
  /** After the epoch host a is lost: back to the last cut, all on host b or moved back. */
  readonly recovery: boolean;
}

/** A small cluster's life as the store sees it: captures, packs, commits, aborts, recoveries, and the truth to compare with. */
export class History {
  readonly objects = new Objects();
  readonly cuts: CommittedCut[] = [];
  readonly guests: Guest[];
  generation = 1;
  epoch = 0;
  #incarnation = 'a'.repeat(32);
  #since: Stored[] = [];
  #atCut = new Map<string, State & { hash: string; host: string }>();

  /** Raw pages that committed packs of this generation hold: sections of version 4 refer to them. */
  readonly #known = new Map<string, Known>();

  /** `sections`: version of the page sections that are written. */
  constructor(vms: number, readonly sections: 1 | 2 | 4 = 1) {
    this.guests = Array.from({ length: vms }, (_, at) => ({ vm: `vm-${at}`, host: at % 2 === 0 ? 'host-a' : 'host-b', memory: Buffer.alloc(memoryPages * pageBytes), disks: disksOf(at), parent: null, kind: 'full' }));
    for (const { key, bytes } of rootObjects) this.objects.map.set(key, bytes);
    this.#record(null, null);
  }

  async run(events: EpochEvents): Promise<CommittedCut | null> {
    this.epoch++;
    for (const [vm, page, value] of events.writes) {
      const guest = this.guests[vm % this.guests.length] as Guest;
      write(guest.memory, page % memoryPages, value);
      const disk = guest.disks[value % Math.max(1, guest.disks.length)];
      // Spread over all chunks of an image, the last block of each too.
      if (disk !== undefined) write(disk.content, (page * 23 + value) % (disk.content.length / pageBytes), value);
    }
    if (events.full !== null) (this.guests[events.full % this.guests.length] as Guest).kind = 'full';
    const hosts = [...new Set(this.guests.map((guest) => guest.host))].sort();
    const stored = new Map<string, Stored>();
    for (const host of hosts) if (events.stored[host === 'host-a' ? 0 : 1]) stored.set(host, await this.#store(host));
    const cut = stored.size === hosts.length && !events.late ? this.#commit() : null;
    if (events.recovery && this.cuts.length > 0) this.#recover();
    return cut;
  }

  async #store(host: string): Promise<Stored> {
    const segments: EncodedSegment[] = [];
    const states = new Map<string, State>();
    const references = new Map<string, PackReference>();
    const raw: { vm: string; content: string; page: number }[] = [];
    for (const guest of this.guests.filter((each) => each.host === host)) {
      const kind = guest.parent === null ? 'full' : guest.kind;
      // A chain that begins anew may do so without the image.
      if (kind === 'full' && this.epoch % 3 === 0) guest.disks = guest.disks.map((disk) => ({ ...disk, image: null }));
      const parent = kind === 'full' ? null : guest.parent;
      const { memory, disks } = stateOf(guest);
      const pagesWritten = written(memory, parent?.memory ?? null).map((page): WrittenPage => {
        const content = page.kind === 'raw' && this.sections === 4 ? sha256(page.bytes as Buffer) : null;
        const known = content === null ? undefined : this.#known.get(content);
        // A store takes no pack that refers to what it no longer has.
        if (known === undefined || !this.objects.map.has(known.reference.pack)) {
          if (content !== null) raw.push({ vm: guest.vm, content, page: page.page });
          return page;
        }
        references.set(known.reference.segment, known.reference);
        return { page: page.page, kind: 'reference', bytes: null, at: { segment: known.reference.segment, page: known.page, hash: content as string } };
      });
      const pages = pageSection(memory.length / pageBytes, parent === null, pagesWritten, this.sections);
      const blocks = disks.map(({ image, content }, at) => {
        const before = parent?.disks[at]?.content ?? (image === null ? null : rootContent);
        return pageSection(content.length / pageBytes, before === null, written(content, before, false), this.sections);
      });
      const segment = await encodeSegment(
        { cluster, vm: guest.vm, generation: this.generation, incarnation: this.#incarnation, epoch: this.epoch, parent: parent?.hash ?? null, kind, runState: 'running', memory_bytes: memory.length, identity, disks: disks.map(({ name, image, content }) => ({ name, image, bytes: content.length })) },
        { pages, device: Buffer.from(`${guest.vm} at ${this.epoch}`), disks: blocks },
      );
      segments.push(segment);
      states.set(guest.vm, { memory, disks });
      guest.parent = { hash: segment.hash, memory, disks };
      guest.kind = 'delta';
    }
    const channel = [{ nic: '52:54:00:00:00:01', frame: noise(`${host}/${this.epoch}`, 64) }];
    const content = { cluster, generation: this.generation, incarnation: this.#incarnation, epoch: this.epoch, host, segments, channel, down: [], references: [...references.values()] };
    const encoded = encodePack(content);
    this.objects.map.set(encoded.key, encoded.bytes);
    const { places } = packParts(content);
    const placed = new Map(segments.map(({ header: { vm }, hash }, at) => [vm, { pack: encoded.key, segment: hash, ...places[at] as { offset: number; length: number } }]));
    const stored = { pack: decodePack(encoded.bytes, encoded.hash), states, raw: new Map(raw.map(({ vm, content: hash, page }) => [hash, { reference: placed.get(vm) as PackReference, page }])) };
    this.#since.push(stored);
    return stored;
  }

  #commit(): CommittedCut {
    const now = this.#since.filter(({ pack }) => pack.epoch === this.epoch);
    const segments = now.flatMap(({ pack, states }) => pack.segments.map((segment) => ({ host: pack.host, segment, state: states.get(segment.header.vm) as State })));
    const manifest: Manifest = {
      format: 'virtcft/cut/1', cluster, generation: this.generation, incarnation: this.#incarnation, epoch: this.epoch, previous: this.cuts.at(-1)?.ref.hash ?? null,
      vms: Object.fromEntries(segments.map(({ host, segment: { header, hash } }) => [header.vm, { host, segment: hash, kind: header.kind, runState: header.runState, memory_bytes: header.memory_bytes, disks: header.disks }])),
      packs: this.#since.map(({ pack }) => ({ host: pack.host, epoch: pack.epoch, key: pack.key, hash: pack.hash, bytes: pack.bytes.length })),
    };
    const { key, hash, bytes } = encodeManifest(manifest);
    this.objects.map.set(key, bytes);
    this.#atCut = new Map(segments.map(({ host, segment, state }) => [segment.header.vm, { ...state, hash: segment.hash, host }]));
    const cut: CommittedCut = {
      ref: { key, hash, generation: this.generation, epoch: this.epoch }, manifest, packs: this.#since.map(({ pack }) => pack),
      digests: Object.fromEntries(segments.flatMap(({ segment: { header: { vm } }, state }) => [[vm, sha256(state.memory)], ...state.disks.map(({ name, content }) => [`${vm}/${name}`, sha256(content)])])),
      device: Object.fromEntries(segments.map(({ segment }) => [segment.header.vm, `${segment.header.vm} at ${this.epoch}`])),
    };
    for (const { raw } of this.#since) for (const [content, known] of raw) this.#known.set(content, known);
    this.#since = [];
    this.cuts.push(cut);
    return cut;
  }

  #recover(): void {
    const previous = this.#incarnation;
    this.generation++;
    this.#incarnation = createHash('md5').update(`${this.generation}/${this.epoch}`).digest('hex');
    this.#since = [];
    this.#known.clear();
    for (const guest of this.guests) {
      const state = this.#atCut.get(guest.vm) as State & { hash: string };
      guest.host = this.generation % 2 === 0 ? 'host-b' : guest.host === 'host-a' ? 'host-b' : 'host-a';
      Object.assign(guest, stateOf(state));
      guest.parent = state;
      guest.kind = 'delta';
    }
    this.#record(this.cuts.at(-1)?.ref ?? null, previous);
  }

  #record(basis: CutRef | null, previous: string | null): void {
    const { key, bytes } = encodeGeneration({ format: 'virtcft/generation/1', cluster, generation: this.generation, incarnation: this.#incarnation, basis, previous });
    this.objects.map.set(key, bytes);
  }
}

function write(content: Buffer, page: number, value: number): void {
  const at = page * pageBytes;
  if (value === 0) content.fill(0, at, at + pageBytes);
  else noise(`${value}`, value % 3 === 0 ? pageBytes : 100).copy(content, at);
}

/** Pages that differ, in every kind that may stand for them: XOR in a memory only. */
function written(content: Buffer, parent: Buffer | null, xor = true): WrittenPage[] {
  const pages: WrittenPage[] = [];
  for (let page = 0; page * pageBytes < content.length; page++) {
    const now = content.subarray(page * pageBytes, (page + 1) * pageBytes);
    const before = parent?.subarray(page * pageBytes, (page + 1) * pageBytes) ?? Buffer.alloc(pageBytes);
    if (now.equals(before)) continue;
    const zero = now.every((byte) => byte === 0);
    if (zero) pages.push({ page, kind: 'zero', bytes: null });
    else if (!xor || parent === null || page % 2 === 0) pages.push({ page, kind: 'raw', bytes: now });
    else {
      const difference = Buffer.from(now.map((byte, at) => byte ^ (before[at] as number)));
      const words = Array.from({ length: pageBytes / 8 }, (_, at) => difference.readBigUInt64LE(at * 8)).filter((word) => word !== 0n).length;
      pages.push(words > patchWords ? { page, kind: 'raw', bytes: now } : { page, kind: 'xor', bytes: difference });
    }
  }
  return pages;
}
