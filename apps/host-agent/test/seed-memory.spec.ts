import { chunkBytes, decodeChunk, parseImage } from '@virtcft/checkpoint';
import type { VmSeed } from '@virtcft/hypervisor';
import { limits } from '../src/limits.js';
import { ReplicaStoreUnavailable } from '../src/recovery/replica-store-errors.js';
import { seedMemory } from '../src/seed/seed-memory.js';

const page = 4096;
const chunkPages = chunkBytes / page;
const cluster = '2f0c4b1e-6a52-4a55-9d3e-0c5b8f1c7a11';

/** A memory of some chunks whose guest goes on writing: after each look at a chunk `writes` says what it wrote. */
class Guest implements VmSeed {
  readonly epoch = 0;
  readonly memory: Buffer;
  readonly base: Buffer;
  readonly dirty = new Set<number>();
  looks = 0;

  constructor(chunks: number, private readonly writes: (guest: Guest, look: number) => void = () => undefined) {
    this.memory = Buffer.alloc(chunks * chunkBytes);
    this.base = Buffer.alloc(chunks * chunkBytes);
  }

  write(at: number, value: number): void {
    this.memory.fill(value, at * page, (at + 1) * page);
    this.dirty.add(at);
  }

  async copy(first: number, count: number, fewest: number): Promise<{ pages: number; content: Buffer | null }> {
    const written = [...this.dirty].filter((at) => at >= first && at < first + count);
    const piece = this.base.subarray(first * page, (first + count) * page);
    let content: Buffer | null = null;
    if (written.length >= fewest) {
      for (const at of written) {
        this.memory.copy(this.base, at * page, at * page, (at + 1) * page);
        this.dirty.delete(at);
      }
      content = piece.every((byte) => byte === 0) ? null : Buffer.from(piece);
    }
    this.writes(this, this.looks++);
    return { pages: written.length, content };
  }
}

/** Objects as a replica store keeps them, and how many were on their way at once. */
class Store {
  readonly chunks = new Map<string, Buffer>();
  readonly images = new Map<string, Buffer>();
  atOnce = 0;
  asked = 0;
  most = 0;
  away = 0;

  async hasChunk(_: string, hash: string): Promise<boolean> {
    if (this.away > 0) throw new ReplicaStoreUnavailable('away', null);
    return this.chunks.has(hash);
  }
  async putChunk(_: string, hash: string, stored: Buffer): Promise<void> {
    this.most = Math.max(this.most, ++this.atOnce);
    await new Promise((resolve) => setTimeout(resolve, 2));
    this.atOnce -= 1;
    this.chunks.set(hash, stored);
  }
  async putImage(_: string, hash: string, bytes: Buffer): Promise<void> { this.images.set(hash, bytes); }

  async prepareImage(_: string, hash: string): Promise<boolean> { return this.images.has(hash) && ++this.asked > 1; }

  async read(hash: string): Promise<Buffer> {
    const { chunks } = parseImage(this.images.get(hash) ?? Buffer.alloc(0), hash);
    return Buffer.concat(await Promise.all(chunks.map(async (chunk) => (chunk === null ? Buffer.alloc(chunkBytes) : decodeChunk(this.chunks.get(chunk) ?? Buffer.alloc(0), chunk)))));
  }
}

const seed = (guest: Guest, store: Store, more: { bytes_per_s?: number; signal?: AbortSignal; onProgress?: (share: number) => void } = {}) =>
  seedMemory(guest, store, { cluster, memory_bytes: guest.memory.length, bytes_per_s: more.bytes_per_s ?? 1e12, signal: more.signal ?? new AbortController().signal, onProgress: more.onProgress ?? (() => undefined) });

describe('a base of a memory that is in use (R20)', () => {
  it('is what the VM holds as its base, when it is stored; what was never touched costs nothing', async () => {
    const [guest, store] = [new Guest(40), new Store()];
    for (const chunk of [0, 3, 4, 39]) for (let at = 0; at < 5; at += 1) guest.write(chunk * chunkPages + at, chunk + at + 1);
    const shares: number[] = [];
    const { image, seeded_bytes, rounds } = await seed(guest, store, { onProgress: (share) => shares.push(share) });
    expect((await store.read(image)).equals(guest.memory)).toBe(true);
    expect(guest.base.equals(guest.memory)).toBe(true);
    expect([seeded_bytes, store.chunks.size, rounds]).toEqual([4 * chunkBytes, 4, 2]);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect(shares.at(-1)).toBeLessThan(1);
    // Not before it can be restored from without a wait.
    expect(store.asked).toBe(2);
  });

  it('is made in rounds: a chunk of which much was written meanwhile is sent again, one of which little was is left to the first cut', async () => {
    const store = new Store();
    const guest = new Guest(20, (one, look) => {
      if (look !== 19) return;
      for (let at = 0; at < limits.seed_dense_pages; at += 1) one.write(2 * chunkPages + at, 77);
      for (let at = 0; at < limits.seed_dense_pages - 1; at += 1) one.write(5 * chunkPages + at, 88);
    });
    for (let chunk = 0; chunk < 20; chunk += 1) guest.write(chunk * chunkPages, chunk + 1);
    const { image } = await seed(guest, store);
    expect((await store.read(image)).equals(guest.base)).toBe(true);
    expect([...guest.dirty].every((at) => at >= 5 * chunkPages && at < 6 * chunkPages)).toBe(true);
    expect(guest.dirty.size).toBe(limits.seed_dense_pages - 1);
  });

  it('ends after some rounds with a guest that writes faster than it is copied; the image is still the base', async () => {
    const store = new Store();
    const pages = 40 * chunkPages;
    const guest = new Guest(40, (one, look) => { for (let at = 0; at < 400; at += 1) one.write((look * 400 + at * 7) % pages, 1 + look % 200); });
    const { image, rounds } = await seed(guest, store);
    expect(rounds).toBe(3);
    expect(rounds).toBeLessThan(limits.seed_rounds);
    expect((await store.read(image)).equals(guest.base)).toBe(true);
  });

  it('goes no faster than its rate, holds few chunks, sends nothing twice and waits for a store that is away', async () => {
    const [guest, store] = [new Guest(24), new Store()];
    for (let chunk = 0; chunk < 24; chunk += 1) guest.write(chunk * chunkPages, 1 + chunk % 12);
    store.away = 1;
    setTimeout(() => { store.away = 0; }, 150);
    const begun_ms = performance.now();
    const { stored_bytes } = await seed(guest, store, { bytes_per_s: 40 * chunkBytes });
    expect(performance.now() - begun_ms).toBeGreaterThan(23 / 40 * 1000 - 2 * limits.seed_slack_ms);
    expect(store.most).toBeLessThanOrEqual(limits.upload_chunks);
    expect(store.chunks.size).toBe(12);
    expect(stored_bytes).toBeGreaterThanOrEqual([...store.chunks.values()].reduce((sum, { length }) => sum + length, 0));
  });

  it('is given up when it is told, and leaves no image', async () => {
    const store = new Store();
    const ending = new AbortController();
    const guest = new Guest(30, (_, look) => { if (look === 10) ending.abort(); });
    for (let chunk = 0; chunk < 30; chunk += 1) guest.write(chunk * chunkPages, chunk + 1);
    await expect(seed(guest, store, { signal: ending.signal })).rejects.toThrow();
    expect(store.images.size).toBe(0);
  });
});
