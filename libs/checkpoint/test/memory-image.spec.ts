import { mkdtemp, rm } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Audit, BaseImages, checkSections, chunkBytes, chunkKey, decodePack, decodeSegment, encodeChunk, encodeImage, encodeManifest, encodePack, encodeSegment, foldCut, imageKey, verifyCut } from '../src/index.js';
import { Objects } from './history.js';
import { pageSection } from './page-section.js';
import { cluster, header, incarnation, noise } from './samples.js';

const page = 4096;
const memory_bytes = chunkBytes + 3 * page;
const pages = memory_bytes / page;

let root: string;
let folders = 0;
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'virtcft-memory-image-')); });
afterAll(async () => { await rm(root, { recursive: true, force: true }); });

/** A cut whose one VM begins with a stored base of its memory: the first segment changes two pages of it and makes one zero, the next one changes another. */
async function life() {
  const base = Buffer.concat([noise('base', 5 * page), Buffer.alloc(memory_bytes - 6 * page), noise('end', page)]);
  const objects = new Objects();
  const chunks: (string | null)[] = [];
  for (let at = 0; at < memory_bytes; at += chunkBytes) {
    const chunk = await encodeChunk(base.subarray(at, at + chunkBytes));
    chunks.push(chunk?.hash ?? null);
    if (chunk !== null) objects.map.set(chunkKey({ cluster, hash: chunk.hash }), await chunk.stored());
  }
  const image = encodeImage({ bytes: memory_bytes, chunks });
  objects.map.set(imageKey({ cluster, hash: image.hash }), image.bytes);
  const memory = Buffer.from(base);
  const cuts = [];
  let [parent, previous]: [string | null, string | null] = [null, null];
  for (const [epoch, write] of [[7, 1], [8, 200]] as const) {
    const raw = noise(`write ${epoch}`, page);
    const before = Buffer.from(memory.subarray(2 * page, 3 * page));
    const difference = Buffer.alloc(page);
    difference.writeUInt32LE(epoch, 0);
    raw.copy(memory, write * page);
    before.forEach((byte, at) => { memory[2 * page + at] = byte ^ (difference[at] ?? 0); });
    if (epoch === 7) memory.fill(0, 4 * page, 5 * page);
    const written = [
      { page: write, kind: 'raw' as const, bytes: raw }, { page: 2, kind: 'xor' as const, bytes: difference }, ...(epoch === 7 ? [{ page: 4, kind: 'zero' as const, bytes: null }] : []),
    ].sort((a, b) => a.page - b.page);
    const described = header({ epoch, memory_bytes, parent, kind: parent === null ? 'full' : 'delta', ...(parent === null ? { image: image.hash } : {}) });
    const segment = await encodeSegment(described, { pages: pageSection(pages, false, written), device: noise('device', 100) });
    const pack = encodePack({ cluster, generation: 3, incarnation, epoch, host: 'host-a', segments: [segment], channel: [], down: [] });
    objects.map.set(pack.key, pack.bytes);
    const manifest = {
      format: 'virtcft/cut/1' as const, cluster, generation: 3, incarnation, epoch, previous,
      vms: { 'bank-1': { host: 'host-a', segment: segment.hash, kind: described.kind, runState: 'running' as const, memory_bytes, disks: [] } },
      packs: [{ host: 'host-a', epoch, key: pack.key, hash: pack.hash, bytes: pack.bytes.length }],
    };
    const cut = encodeManifest(manifest);
    objects.map.set(cut.key, cut.bytes);
    cuts.push({ ...cut, manifest, packs: [decodePack(pack.bytes)], digest: createHash('sha256').update(memory).digest('hex') });
    [parent, previous] = [segment.hash, cut.hash];
  }
  return { objects, image, chunks, first: cuts[0] as (typeof cuts)[number], second: cuts[1] as (typeof cuts)[number] };
}

describe('a chain that begins with a base of the memory (R20)', () => {
  it('is folded: the image, the first segment as a change to it, and what follows', async () => {
    const { objects, first, second } = await life();
    const fold = await foldCut(objects, first, join(root, `${folders++}`));
    expect(await fold.digests()).toEqual({ 'bank-1': first.digest });
    await fold.apply(second.manifest, second.packs);
    expect(await fold.digests()).toEqual({ 'bank-1': second.digest });
    await fold.close();
  });

  it('with images that are kept as files, too, without keeping a memory\'s', async () => {
    const { objects, second } = await life();
    const images = await BaseImages.open({ folder: join(root, `${folders++}`), source: objects, cluster, bound_bytes: 1 });
    const fold = await foldCut(objects, second, join(root, `${folders++}`), { images });
    expect(await fold.digests()).toEqual({ 'bank-1': second.digest });
    await fold.close();
  });

  it('that was fetched ahead is handed over, so that the fold does not stop for it', async () => {
    const { objects, image, second } = await life();
    const images = await BaseImages.open({ folder: join(root, `${folders++}`), source: objects, cluster, bound_bytes: 2 ** 30 });
    expect(await images.prepare(image.hash)).toBe(false);
    while (!await images.prepare(image.hash)) await new Promise((resolve) => setTimeout(resolve, 5));
    for (const key of [...objects.map.keys()]) if (key.includes('/chunks/')) objects.map.delete(key);
    const fold = await foldCut(objects, second, join(root, `${folders++}`), { images });
    expect(await fold.digests()).toEqual({ 'bank-1': second.digest });
    await fold.close();
    // It is nobody else's, and what cannot be fetched is told.
    expect(await images.prepare(image.hash)).toBe(false);
    await expect((async () => { while (!await images.prepare(image.hash)) await new Promise((resolve) => setTimeout(resolve, 5)); })()).rejects.toMatchObject({ code: 'CUT_BROKEN' });
  });

  it('is verified and audited back to the image and its chunks, each of which is named when it is damaged or missing', async () => {
    const { objects, image, chunks, first, second } = await life();
    expect(await verifyCut(objects, second, { scratch: root })).toMatchObject({ ok: true, vms: { 'bank-1': second.digest }, objects: 4 + 1 + chunks.filter((chunk) => chunk !== null).length });
    const audit = async (): Promise<Audit> => {
      const one = new Audit(objects, cluster);
      for (const cut of [first, second]) await one.cut(cut);
      return one;
    };
    expect((await audit()).faults).toEqual([]);
    for (const key of [imageKey({ cluster, hash: image.hash }), chunkKey({ cluster, hash: chunks[0] ?? '' })]) {
      const bytes = objects.map.get(key) as Buffer;
      objects.map.delete(key);
      expect(await verifyCut(objects, second, { scratch: root })).toMatchObject({ ok: false, key });
      const found = await audit();
      expect(found.faults).toMatchObject([{ key }]);
      expect(found.broken.map(({ hash }) => hash)).toEqual([first.hash, second.hash]);
      objects.map.set(key, bytes);
    }
  });

  it('has a first segment that is a change: a full section would make zero what it does not name, and a delta has no image', async () => {
    const described = header({ memory_bytes: page, image: 'ab'.repeat(32) });
    const of = async (full: boolean) => decodeSegment((await encodeSegment(described, { pages: pageSection(1, full, []), device: Buffer.alloc(0) })).bytes);
    checkSections(await of(false));
    const full = await of(true);
    expect(() => checkSections(full)).toThrow('full');
    await expect(encodeSegment(header({ kind: 'delta', parent: 'ee'.repeat(32), image: 'ab'.repeat(32) }), { pages: pageSection(1, false, []), device: Buffer.alloc(0) })).rejects.toThrow('no image');
  });
});
