import { mkdtemp, readFile, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BaseImages, checkSections, CutBroken, encodeImage, encodeSegment, decodeSegment, foldCut, imageKey, ReplicaFold, storedImages, verifyCut } from '../src/index.js';
import type { SegmentDisk } from '../src/index.js';
import { History, rootContent, rootImage, rootObjects } from './history.js';
import type { CommittedCut, EpochEvents } from './history.js';
import { pageSection } from './page-section.js';
import { cluster, header, noise } from './samples.js';

let root: string;
let folders = 0;
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'virtcft-disks-')); });
afterAll(async () => { await rm(root, { recursive: true, force: true }); });
const folder = (): string => join(root, `${folders++}`);

const quiet: EpochEvents = { writes: [], stored: [true, true], late: false, full: null, recovery: false };
const busy = (at: number): EpochEvents => ({ ...quiet, writes: [[0, at, 2 * at + 1], [0, at, 2 * at + 2], [2, at, at]] });
async function committed(epochs: number): Promise<History> {
  const history = new History(3);
  for (let at = 0; at < epochs; at++) await history.run(busy(at));
  return history;
}
const last = (history: History): CommittedCut => history.cuts.at(-1) as CommittedCut;

describe('a folded disk', () => {
  it('lies as a raw file where the fold says, and is read block by block through a view', async () => {
    const history = await committed(3);
    const fold = await foldCut(history.objects, last(history).ref, folder());
    const view = await fold.restoreView('vm-0');
    const [truth] = history.guests as [History['guests'][number]];
    expect(view.disks).toEqual(last(history).manifest.vms['vm-0']?.disks);
    for (const { name, content } of truth.disks) {
      expect((await readFile(fold.diskPath('vm-0', name))).equals(content)).toBe(true);
      const disk = view.disk(name);
      expect(disk.bytes).toBe(content.length);
      expect(await disk.digest()).toBe(last(history).digests[`vm-0/${name}`]);
      const { ReplicaImage } = await import('@virtcft/native');
      const copy = new ReplicaImage({ path: join(root, `${name}.copy`), bytes: disk.bytes });
      const extents = await disk.extents();
      for (let at = 0; at < extents.length; at += 2) await copy.apply(await disk.read(extents[at] as number, extents[at + 1] as number));
      expect(await copy.digest()).toBe(await disk.digest());
      copy.close();
    }
    expect(() => view.disk('nothing')).toThrow(RangeError);
    expect(() => fold.diskPath('vm-1', 'root')).toThrow(RangeError);
    expect((await fold.restoreView('vm-1')).disks).toEqual([]);
    const disk = view.disk('root');
    view.close();
    await expect(disk.read(0, 1)).rejects.toThrow('closed');
  });

  it('whose file was cut short or is gone makes the fold begin anew', async () => {
    const history = await committed(2);
    for (const damage of [(path: string) => rm(path), (path: string) => truncate(path, 4096)]) {
      const path = folder();
      await (await foldCut(history.objects, last(history).ref, path)).close();
      await damage(join(path, 'vm-2.root.raw'));
      const fold = await foldCut(history.objects, last(history).ref, path);
      expect(fold.discarded).toContain('not what was left');
      expect(await fold.digests()).toEqual(last(history).digests);
      await fold.close();
    }
  });

  it.each([
    ['is not there any more', (disks: readonly SegmentDisk[]) => disks.slice(1)],
    ['has another name', ([first, ...others]: readonly SegmentDisk[]) => [{ ...first, name: 'other' }, ...others]],
    ['begins with another image', ([first, ...others]: readonly SegmentDisk[]) => [{ ...first, image: null }, ...others]],
  ])('that along a chain %s is not folded', async (_, change) => {
    const history = await committed(2);
    const [guest] = history.guests as [History['guests'][number]];
    guest.disks = change(guest.disks as unknown as readonly SegmentDisk[]) as unknown as typeof guest.disks;
    await history.run(quiet);
    const path = folder();
    const before = history.cuts.at(-2) as CommittedCut;
    const fold = await foldCut(history.objects, before.ref, path);
    await expect(fold.apply(last(history).manifest, last(history).packs)).rejects.toThrow('other disks than its parent');
    await fold.close();
    expect(await verifyCut(history.objects, last(history).ref, { scratch: root })).toMatchObject({ ok: false, key: last(history).ref.key });
  });

  it('that begins with an image of another size is not folded, and the image is named', async () => {
    const history = await committed(1);
    const other = encodeImage({ bytes: 4096, chunks: [null] });
    const key = imageKey({ cluster, hash: other.hash });
    history.objects.map.set(key, other.bytes);
    const [guest] = history.guests as [History['guests'][number]];
    guest.disks = guest.disks.map((disk) => (disk.image === null ? disk : { ...disk, image: other.hash }));
    await history.run({ ...quiet, full: 0 });
    await expect(foldCut(history.objects, last(history).ref, folder())).rejects.toMatchObject({ code: 'CUT_BROKEN', key });
    expect(await verifyCut(history.objects, last(history).ref, { scratch: root })).toMatchObject({ ok: false, key });
  });
});

describe('a block section', () => {
  const blocks = 8;
  const raw = { page: 3, kind: 'raw', bytes: noise('block', 4096) } as const;
  const check = async (kind: 'full' | 'delta', image: string | null, section: Buffer): Promise<void> => {
    const parent = kind === 'full' ? null : 'ee'.repeat(32);
    const described = header({ kind, parent, memory_bytes: 4096, disks: [{ name: 'root', bytes: blocks * 4096, image }] });
    checkSections(decodeSegment((await encodeSegment(described, { pages: pageSection(1, kind === 'full', []), device: Buffer.alloc(0), disks: [section] })).bytes));
  };
  const image = 'ab'.repeat(32);

  it('is a change to its image or its parent, or full where there is neither', async () => {
    await check('full', null, pageSection(blocks, true, [raw]));
    await check('full', image, pageSection(blocks, false, [raw]));
    await check('delta', image, pageSection(blocks, false, [raw]));
    await check('delta', null, pageSection(blocks, false, []));
    await expect(check('full', null, pageSection(blocks, false, [raw]))).rejects.toMatchObject({ part: 'block section' });
    await expect(check('full', image, pageSection(blocks, true, [raw]))).rejects.toThrow('no change to the image');
    await expect(check('delta', null, pageSection(blocks, true, [raw]))).rejects.toThrow('no change to the parent');
  });

  it('of another size, with XOR blocks, or damaged, is refused by its name', async () => {
    await expect(check('delta', null, pageSection(blocks + 1, false, [raw]))).rejects.toThrow('of 9 pages');
    await expect(check('delta', null, pageSection(blocks, false, [{ ...raw, kind: 'xor' }]))).rejects.toThrow('XOR');
    const good = pageSection(blocks, false, [raw]);
    for (let at = 0; at < good.length; at += 11) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] as number) ^ 2;
      await expect(check('delta', null, bad)).rejects.toMatchObject({ code: 'FORMAT', part: 'block section' });
    }
  });
});

describe('base images', () => {
  const filled = (): History => new History(0);
  const cache = (history: History, bound_bytes: number): Promise<BaseImages> => BaseImages.open({ folder: folder(), source: history.objects, cluster, bound_bytes });

  it('become files that hold them exactly, and take no room for zeros', async () => {
    const history = filled();
    const path = folder();
    await storedImages(history.objects, cluster).materialise(rootImage.hash, rootContent.length, path);
    expect((await readFile(path)).equals(rootContent)).toBe(true);
    expect((await stat(path)).blocks * 512).toBeLessThan(rootContent.length / 4);
  });

  it('of which a chunk is bad are read no further', async () => {
    const history = filled();
    const [chunk] = rootObjects as [(typeof rootObjects)[number]];
    const many = encodeImage({ bytes: 50 * 1024 * 1024, chunks: ['ff'.repeat(32), ...Array.from({ length: 49 }, () => chunk.key.slice(-64))] });
    history.objects.map.set(imageKey({ cluster, hash: many.hash }), many.bytes);
    await expect(storedImages(history.objects, cluster).materialise(many.hash, 50 * 1024 * 1024, folder())).rejects.toMatchObject({ code: 'CUT_BROKEN' });
    expect(history.objects.reads).toBeLessThan(20);
  });

  it('are fetched once for many disks at once, and give each a file of its own', async () => {
    const history = filled();
    const images = await cache(history, 1e9);
    const paths = [folder(), folder(), folder()];
    await Promise.all(paths.map((path) => images.materialise(rootImage.hash, rootContent.length, path)));
    expect(history.objects.reads).toBe(rootObjects.length);
    for (const path of paths) expect((await readFile(path)).equals(rootContent)).toBe(true);
  });

  it('are one fetch for all VMs of a cluster that is folded', async () => {
    const history = await committed(1);
    const images = await cache(history, 1e9);
    history.objects.reads = 0;
    await (await foldCut(history.objects, last(history).ref, folder(), { images })).close();
    const shared = history.objects.reads;
    history.objects.reads = 0;
    await (await foldCut(history.objects, last(history).ref, folder())).close();
    expect(history.objects.reads - shared).toBe(rootObjects.length);
  });

  it('are read once for all cuts that are verified with them, and still count', async () => {
    const history = await committed(2);
    const images = await cache(history, 1e9);
    const verdicts = [];
    const reads = [];
    for (const { ref } of [last(history), last(history)]) {
      history.objects.reads = 0;
      verdicts.push(await verifyCut(history.objects, ref, { scratch: root, images }));
      reads.push(history.objects.reads);
    }
    // Two manifests with two packs each, the image and its chunks.
    for (const verdict of verdicts) expect(verdict).toMatchObject({ ok: true, vms: last(history).digests, objects: 2 + 4 + rootObjects.length });
    expect((reads[0] ?? 0) - (reads[1] ?? 0)).toBe(rootObjects.length);
  });

  it('beyond the bound are given, and not kept', async () => {
    const history = filled();
    const images = await cache(history, 1);
    for (const times of [1, 2]) {
      const path = folder();
      await images.materialise(rootImage.hash, rootContent.length, path);
      expect((await readFile(path)).equals(rootContent)).toBe(true);
      expect(history.objects.reads).toBe(times * rootObjects.length);
    }
  });

  it('that could not be fetched are fetched again when they are asked for again, and the object at fault is named', async () => {
    const history = filled();
    const images = await cache(history, 1e9);
    for (const { key, bytes } of rootObjects) {
      history.objects.map.delete(key);
      await expect(images.materialise(rootImage.hash, rootContent.length, folder())).rejects.toMatchObject({ code: 'CUT_BROKEN', key });
      history.objects.map.set(key, bytes);
    }
    const path = folder();
    await images.materialise(rootImage.hash, rootContent.length, path);
    expect((await readFile(path)).equals(rootContent)).toBe(true);
    await expect(images.materialise(rootImage.hash, 4096, folder())).rejects.toThrow(CutBroken);
  });

  it('are no fault of the cut when the store is away', async () => {
    const history = await committed(1);
    const trouble = Object.assign(new Error('cut off'), { code: 'STORE_UNAVAILABLE' });
    const images = { materialise: () => Promise.reject(trouble) };
    await expect(foldCut(history.objects, last(history).ref, folder(), { images })).rejects.toBe(trouble);
    const fold = await ReplicaFold.open({ folder: folder(), cluster, images });
    await expect(fold.apply(last(history).manifest, last(history).packs)).rejects.toBe(trouble);
    await fold.close();
  });
});
