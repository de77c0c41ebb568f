import { createHash } from 'node:crypto';
import type { CutRef } from '@virtcft/events';
import { decodePack, encodeGeneration, encodeManifest, encodePack, encodeSegment } from '../src/index.js';
import type { EncodedSegment, Manifest, ObjectSource, Pack } from '../src/index.js';
import { pageSection } from './page-section.js';
import type { WrittenPage } from './page-section.js';
import { cluster, identity, noise } from './samples.js';

const pageBytes = 4096;
export const memoryPages = 24;

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
  async *list(prefix: string, options: { after?: string } = {}): AsyncGenerator<{ key: string }> {
    for (const key of [...this.map.keys()].sort()) if (key.startsWith(prefix) && key > (options.after ?? '')) yield { key };
  }
}

interface Guest {
  readonly vm: string;
  host: string;
  memory: Buffer;
  /** Content as of the last stored segment, the parent of the next. */
  parent: { hash: string; memory: Buffer } | null;
  kind: 'full' | 'delta';
}
interface Stored {
  readonly pack: Pack;
  readonly memory: ReadonlyMap<string, Buffer>;
}
export interface CommittedCut {
  readonly ref: CutRef;
  readonly manifest: Manifest;
  readonly packs: readonly Pack[];
  /** SHA-256 of each VM's memory at the cut. */
  readonly digests: Readonly<Record<string, string>>;
  readonly device: Readonly<Record<string, string>>;
}

/** What happens in one epoch. */
export interface EpochEvents {
  /** Pages written, by VM and page number; the value makes the content: 0 a zero page. */
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
  #atCut = new Map<string, { hash: string; memory: Buffer; host: string }>();

  constructor(vms: number) {
    this.guests = Array.from({ length: vms }, (_, at) => ({ vm: `vm-${at}`, host: at % 2 === 0 ? 'host-a' : 'host-b', memory: Buffer.alloc(memoryPages * pageBytes), parent: null, kind: 'full' }));
    this.#record(null, null);
  }

  async run(events: EpochEvents): Promise<CommittedCut | null> {
    this.epoch++;
    for (const [vm, page, value] of events.writes) {
      const guest = this.guests[vm % this.guests.length] as Guest;
      const at = (page % memoryPages) * pageBytes;
      if (value === 0) guest.memory.fill(0, at, at + pageBytes);
      else noise(`${value}`, value % 3 === 0 ? pageBytes : 100).copy(guest.memory, at);
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
    const memory = new Map<string, Buffer>();
    for (const guest of this.guests.filter((each) => each.host === host)) {
      const kind = guest.parent === null ? 'full' : guest.kind;
      const content = Buffer.from(guest.memory);
      const pages = pageSection(content.length / pageBytes, kind === 'full', written(content, kind === 'full' ? null : (guest.parent?.memory ?? null)));
      const segment = await encodeSegment(
        { cluster, vm: guest.vm, generation: this.generation, incarnation: this.#incarnation, epoch: this.epoch, parent: kind === 'full' ? null : (guest.parent?.hash ?? null), kind, runState: 'running', memory_bytes: content.length, identity },
        { pages, device: Buffer.from(`${guest.vm} at ${this.epoch}`) },
      );
      segments.push(segment);
      memory.set(guest.vm, content);
      guest.parent = { hash: segment.hash, memory: content };
      guest.kind = 'delta';
    }
    const channel = [{ nic: '52:54:00:00:00:01', frame: noise(`${host}/${this.epoch}`, 64) }];
    const encoded = encodePack({ cluster, generation: this.generation, incarnation: this.#incarnation, epoch: this.epoch, host, segments, channel, down: [] });
    this.objects.map.set(encoded.key, encoded.bytes);
    const stored = { pack: decodePack(encoded.bytes, encoded.hash), memory };
    this.#since.push(stored);
    return stored;
  }

  #commit(): CommittedCut {
    const now = this.#since.filter(({ pack }) => pack.epoch === this.epoch);
    const segments = now.flatMap(({ pack, memory }) => pack.segments.map((segment) => ({ host: pack.host, segment, memory: memory.get(segment.header.vm) as Buffer })));
    const manifest: Manifest = {
      format: 'virtcft/cut/1', cluster, generation: this.generation, incarnation: this.#incarnation, epoch: this.epoch, previous: this.cuts.at(-1)?.ref.hash ?? null,
      vms: Object.fromEntries(segments.map(({ host, segment: { header, hash } }) => [header.vm, { host, segment: hash, kind: header.kind, runState: header.runState, memory_bytes: header.memory_bytes }])),
      packs: this.#since.map(({ pack }) => ({ host: pack.host, epoch: pack.epoch, key: pack.key, hash: pack.hash, bytes: pack.bytes.length })),
    };
    const { key, hash, bytes } = encodeManifest(manifest);
    this.objects.map.set(key, bytes);
    this.#atCut = new Map(segments.map(({ host, segment, memory }) => [segment.header.vm, { hash: segment.hash, memory, host }]));
    const cut: CommittedCut = {
      ref: { key, hash, generation: this.generation, epoch: this.epoch }, manifest, packs: this.#since.map(({ pack }) => pack),
      digests: Object.fromEntries(segments.map(({ segment, memory }) => [segment.header.vm, createHash('sha256').update(memory).digest('hex')])),
      device: Object.fromEntries(segments.map(({ segment }) => [segment.header.vm, `${segment.header.vm} at ${this.epoch}`])),
    };
    this.#since = [];
    this.cuts.push(cut);
    return cut;
  }

  #recover(): void {
    const previous = this.#incarnation;
    this.generation++;
    this.#incarnation = createHash('md5').update(`${this.generation}/${this.epoch}`).digest('hex');
    this.#since = [];
    for (const guest of this.guests) {
      const { hash, memory } = this.#atCut.get(guest.vm) as { hash: string; memory: Buffer };
      guest.host = this.generation % 2 === 0 ? 'host-b' : guest.host === 'host-a' ? 'host-b' : 'host-a';
      guest.memory = Buffer.from(memory);
      guest.parent = { hash, memory };
      guest.kind = 'delta';
    }
    this.#record(this.cuts.at(-1)?.ref ?? null, previous);
  }

  #record(basis: CutRef | null, previous: string | null): void {
    const { key, bytes } = encodeGeneration({ format: 'virtcft/generation/1', cluster, generation: this.generation, incarnation: this.#incarnation, basis, previous });
    this.objects.map.set(key, bytes);
  }
}

/** Pages that differ, in every kind that may stand for them. */
function written(content: Buffer, parent: Buffer | null): WrittenPage[] {
  const pages: WrittenPage[] = [];
  for (let page = 0; page * pageBytes < content.length; page++) {
    const now = content.subarray(page * pageBytes, (page + 1) * pageBytes);
    const before = parent?.subarray(page * pageBytes, (page + 1) * pageBytes) ?? Buffer.alloc(pageBytes);
    if (now.equals(before)) continue;
    const zero = now.every((byte) => byte === 0);
    if (zero) pages.push({ page, kind: 'zero', bytes: null });
    else if (parent === null || page % 2 === 0) pages.push({ page, kind: 'raw', bytes: now });
    else pages.push({ page, kind: 'xor', bytes: Buffer.from(now.map((byte, at) => byte ^ (before[at] as number))) });
  }
  return pages;
}
