import { GuestMemory, inspectSection, PageCatalog, probeTracker, ReplicaImage, resolveReferences, type TrackerKind } from '@virtcft/native';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bench, type Guest, type RamFile } from './guest-process';

const PAGES = 512;
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const probe = probeTracker();
const trackers: TrackerKind[] = ['compare', ...(probe.softDirty ? ['soft-dirty' as const] : []), ...(probe.pagemapScan ? ['pagemap-scan' as const] : [])];

let bench: Bench;
beforeAll(() => {
  bench = new Bench();
});
afterAll(() => bench[Symbol.dispose]());

describe('probe', () => {
  test('the best tracker is one that works, and what is missing has a reason', () => {
    expect(trackers).toContain(probe.best);
    const missing = [probe.pagemapScan, probe.softDirty].filter((works) => !works).length;
    expect(probe.reasons.length).toBeGreaterThanOrEqual(missing);
  });
});

describe.each(trackers)('guest memory with %s', (tracker) => {
  let ram: RamFile;
  let guest: Guest;
  let memory: GuestMemory;

  beforeEach(async () => {
    ram = bench.ram('ram', PAGES);
    guest = await bench.guest(ram);
    await guest.ask('write 1 60');
    memory = new GuestMemory({ ramPath: ram.path, bytes: ram.bytes });
    await memory.attach({ pid: guest.pid, tracker, lazy: false });
  });
  afterEach(async () => {
    memory.close();
    await guest.end();
  });

  test('captures, encodes and folds what the guest writes; a replica follows', async () => {
    const replica = new ReplicaImage({ path: join(bench.folder, `replica-${tracker}`), bytes: ram.bytes });
    let parent: number | null = null;
    for (let epoch = 1; epoch <= 12; epoch++) {
      await guest.ask(`run ${epoch}`);
      await memory.precopy();
      await guest.ask('stop');
      const captured = await memory.capture(epoch);
      expect(await memory.verify(epoch)).toEqual({ differing: 0, first: null });
      expect(captured.scan_us).toBeGreaterThanOrEqual(0);
      const truth = sha256(ram.content());
      const encoded = await memory.encode({ parent, epoch });
      const { pages, zero, xor, raw } = encoded;
      expect(inspectSection(encoded.section)).toMatchObject({ pages, zero, xor, raw });
      expect(await replica.apply(encoded.section)).toEqual({ pages });
      expect(await replica.digest()).toBe(truth);
      expect(await memory.digest(epoch)).toBe(truth);
      if (epoch % 3 === 0) await memory.fold(epoch);
      parent = epoch;
    }
    expect(memory.stats()).toMatchObject({ layers: 0, layer_bytes: 0, open_pages: 0 });
    replica.close();
  });

  test('pages that are in a catalog are referred to, and are the same with the section that holds them', async () => {
    const catalog = new PageCatalog();
    const segment = 'ab'.repeat(32);
    await memory.capture(1);
    const first = await memory.encode({ parent: null, epoch: 1, catalog });
    expect(first).toMatchObject({ referred: 0, sources: [] });
    await catalog.add({ segment, section: first.section });
    // Another memory, of a guest that writes the same, and then what nobody has written.
    const other = bench.ram('other', PAGES);
    const twin = await bench.guest(other);
    await twin.ask('write 1 60');
    await twin.ask('write 7 5');
    const memory2 = new GuestMemory({ ramPath: other.path, bytes: other.bytes });
    await memory2.attach({ pid: twin.pid, tracker, lazy: false });
    await memory2.capture(1);
    const { section, sources, referred, pages } = await memory2.encode({ parent: null, epoch: 1, catalog });
    expect(sources).toEqual([segment]);
    expect(referred).toBeGreaterThan(0);
    const replica = new ReplicaImage({ path: join(bench.folder, `twin-${tracker}`), bytes: other.bytes });
    expect(await replica.apply(await resolveReferences(section, [first.section]))).toEqual({ pages });
    expect(await replica.digest()).toBe(sha256(other.content()));
    expect(() => memory2.encode({ parent: null, epoch: 1, catalog: {} as PageCatalog })).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    catalog.close();
    expect(() => memory2.encode({ parent: null, epoch: 1, catalog })).toThrow(expect.objectContaining({ code: 'ECLOSED' }));
    replica.close();
    memory2.close();
    await twin.end();
  });

  test('a rollback gives the memory of the cut, with the guest attached and with it dead', async () => {
    await memory.capture(1);
    const cut = ram.content();
    await guest.ask('write 2 200');
    await memory.capture(2);
    await guest.ask('write 3 30');
    const { scanned, pages } = await memory.rollback(1);
    expect(scanned).toBe(tracker !== 'compare');
    expect(pages).toBeGreaterThan(0);
    expect(ram.content().equals(cut)).toBe(true);
    expect(memory.stats()).toMatchObject({ layers: 1, open_pages: 0 });
    await guest.ask('write 4 30');
    await guest.end();
    expect((await memory.rollback(1)).scanned).toBe(false);
    expect(ram.content().equals(cut)).toBe(true);
    guest = await bench.guest(ram);
  });

  test('a base is seeded piece by piece while the guest runs; the first capture is a change to it', async () => {
    const replica = new ReplicaImage({ path: join(bench.folder, `seeded-${tracker}`), bytes: ram.bytes });
    const image = Buffer.alloc(ram.bytes);
    const piece = 64;
    const stopped = tracker === 'soft-dirty';
    if (stopped) await guest.ask('stop');
    const { epoch } = await memory.beginSeed();
    const seeding = async (fewest: number): Promise<number[]> => {
      const written: number[] = [];
      for (let first = 0; first < PAGES; first += piece) {
        const { pages, content } = await memory.seed({ first, count: piece, fewest });
        written.push(pages);
        if (content !== null) content.copy(image, first * 4096);
      }
      return written;
    };
    await guest.ask('run 5');
    await seeding(0);
    // A piece in which hardly anything was written is left to the first capture.
    await seeding(piece / 2);
    await guest.ask('stop');
    await memory.capture(3);
    expect(await memory.verify(3)).toEqual({ differing: 0, first: null });
    const truth = sha256(ram.content());
    expect(await memory.digest(3)).toBe(truth);
    // What was seeded, and the first capture as a change to it, make the memory.
    writeFileSync(join(bench.folder, `seeded-${tracker}`), image);
    const { section } = await memory.encode({ parent: epoch, epoch: 3 });
    await replica.apply(section);
    expect(await replica.digest()).toBe(truth);
    await expect(memory.beginSeed()).rejects.toMatchObject({ code: 'ESTATE' });
    await expect(memory.seed({ first: 0, count: piece, fewest: 0 })).rejects.toMatchObject({ code: 'ESTATE' });
    replica.close();
  });

  test('what a seeding did not come to is in the first capture, and it may begin again', async () => {
    if (tracker === 'soft-dirty') await guest.ask('stop');
    await memory.beginSeed();
    expect((await memory.seed({ first: 0, count: PAGES / 2, fewest: 0 })).content).not.toBeNull();
    await expect(memory.seed({ first: 1, count: PAGES, fewest: 0 })).rejects.toMatchObject({ code: 'EINVAL' });
    await guest.ask('write 9 40');
    if (tracker === 'soft-dirty') await guest.ask('stop');
    await memory.beginSeed();
    const { content } = await memory.seed({ first: 0, count: PAGES / 2, fewest: 0 });
    expect(content?.length).toBe(PAGES / 2 * 4096);
    await guest.ask('stop');
    await memory.capture(1);
    expect(await memory.verify(1)).toEqual({ differing: 0, first: null });
    expect(await memory.digest(1)).toBe(sha256(ram.content()));
  });

  test('calls made at once run in order, also across the two lanes', async () => {
    await guest.ask('set 3 9');
    const results = await Promise.all([memory.capture(4), memory.verify(4), memory.capture(5), memory.verify(5)]);
    expect(results[1]).toEqual({ differing: 0, first: null });
    const [full, folded, digest] = await Promise.all([memory.encode({ parent: null, epoch: 5 }), memory.fold(5), memory.digest(5)]);
    expect(full.pages).toBeGreaterThan(0);
    expect(folded.pages).toBeGreaterThan(0);
    expect(digest).toBe(sha256(ram.content()));
  });
});

describe('errors', () => {
  test('carry a code', async () => {
    const ram = bench.ram('errors', 8);
    const memory = new GuestMemory({ ramPath: ram.path, bytes: ram.bytes });
    await expect(memory.capture(1)).rejects.toMatchObject({ code: 'ESTATE' });
    await expect(memory.attach({ pid: process.pid, tracker: 'compare', lazy: true })).rejects.toMatchObject({ code: 'ESTATE' });
    await expect(memory.attach({ pid: 4194304, tracker: 'compare', lazy: false })).rejects.toMatchObject({ code: 'EPROCESS' });
    await expect(memory.fold(3)).rejects.toMatchObject({ code: 'EEPOCH' });
    await expect(memory.supply(Buffer.alloc(10))).rejects.toMatchObject({ code: 'EBADSECTION' });
    expect(() => memory.capture(-1)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => memory.capture('x' as unknown as number)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => new GuestMemory({ ramPath: ram.path, bytes: 5 })).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => new GuestMemory({ ramPath: '/nowhere', bytes: 4096 })).toThrow(expect.objectContaining({ code: 'EIO' }));
    memory.close();
    memory.close();
    expect(() => memory.capture(1)).toThrow(expect.objectContaining({ code: 'ECLOSED' }));
  });

  test('a close rejects what has not begun and lets finish what has', async () => {
    const ram = bench.ram('closing', 4096);
    const memory = new GuestMemory({ ramPath: ram.path, bytes: ram.bytes });
    const digests = Array.from({ length: 5 }, () => memory.digest(0));
    memory.close();
    const settled = await Promise.allSettled(digests);
    expect(settled.at(-1)).toMatchObject({ status: 'rejected', reason: { code: 'ECLOSED' } });
    for (const result of settled) {
      if (result.status === 'fulfilled') expect(result.value).toBe(sha256(Buffer.alloc(ram.bytes)));
    }
  });
});

const lazyFill = (): void => {
  test('the guest waits for what is not there, asks for it and gets it', async () => {
    const source = new ReplicaImage({ path: join(bench.folder, 'source'), bytes: PAGES * 4096 });
    const cut = bench.ram('cut', PAGES);
    const writer = await bench.guest(cut);
    for (let page = 0; page < PAGES; page += 3) await writer.ask(`set ${page} ${1 + (page % 200)}`);
    const origin = new GuestMemory({ ramPath: cut.path, bytes: cut.bytes });
    await origin.attach({ pid: writer.pid, tracker: 'compare', lazy: false });
    await origin.capture(7);
    await source.apply((await origin.encode({ parent: null, epoch: 7 })).section);
    origin.close();
    await writer.end();

    const ram = bench.ram('lazy', PAGES);
    const guest = await bench.guest(ram);
    const memory = new GuestMemory({ ramPath: ram.path, bytes: ram.bytes });
    memory.beginFill(7);
    const wanted: number[] = [];
    memory.onWanted((pages) => {
      wanted.push(...pages);
      for (const page of pages) void source.read({ first: page, count: 1 }).then((section) => memory.supply(section));
    });
    await memory.attach({ pid: guest.pid, tracker: 'pagemap-scan', lazy: true });
    expect(await guest.ask('get 300')).toBe(`${1 + (300 % 200)}`);
    expect(await guest.ask('get 301')).toBe('0');
    expect(wanted).toEqual([300, 301]);
    expect(memory.fillStats()).toMatchObject({ present: 2, total: PAGES, done: false });
    await guest.ask('set 300 255');
    await memory.capture(8);
    expect(await memory.encode({ parent: 7, epoch: 8 })).toMatchObject({ pages: 1, raw: 1, xor: 0 });
    memory.onWanted(null);

    const extents = await source.extents();
    for (let i = 0; i < extents.length; i += 2) await memory.supply(await source.read({ first: extents[i]!, count: extents[i + 1]! }));
    await memory.supplyRestAsZero();
    while (!memory.fillStats().done) await sleep(1);
    expect((await memory.capture(9)).pages).toBe(0);
    expect(await memory.digest(7)).toMatch(/^[0-9a-f]{64}$/);
    expect(await memory.digest(9)).toBe(sha256(ram.content()));
    await memory.rollback(7);
    expect(sha256(ram.content())).toBe(await source.digest());
    memory.close();
    source.close();
    await guest.end();
  });

  test('tracing a child of this process does not make its exit event fire', async () => {
    const ram = bench.ram('traced', 16);
    const guest = await bench.guest(ram);
    for (let i = 0; i < 40; i++) {
      const memory = new GuestMemory({ ramPath: ram.path, bytes: ram.bytes });
      await memory.attach({ pid: guest.pid, tracker: 'pagemap-scan', lazy: false });
      memory.close();
    }
    await sleep(20);
    expect(guest.exits).toBe(0);
    expect(await guest.ask('get 0')).toBe('0');
    await guest.end();
  });
};

if (probe.lazyFill) {
  describe('lazy fill', lazyFill);
} else {
  test('a kernel that cannot fill lazily says so', async () => {
    const ram = bench.ram('lazy', PAGES);
    const guest = await bench.guest(ram);
    const memory = new GuestMemory({ ramPath: ram.path, bytes: ram.bytes });
    memory.beginFill(1);
    await expect(memory.attach({ pid: guest.pid, tracker: 'pagemap-scan', lazy: true })).rejects.toMatchObject({ code: 'ENOTRACKER' });
    memory.close();
  });
}
