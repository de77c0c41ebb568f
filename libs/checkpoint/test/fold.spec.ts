import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { CutBroken, encodeManifest, encodePack, encodeSegment, foldCut, FoldGap, lineage, parseManifest, ReplicaFold, storedImages, verifyCut, walkCuts } from '../src/index.js';
import { History, memoryPages } from './history.js';
import type { CommittedCut, EpochEvents } from './history.js';
import { cluster } from './samples.js';

let root: string;
let folders = 0;
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'virtcft-fold-')); });
afterAll(async () => { await rm(root, { recursive: true, force: true }); });
const folder = (): string => join(root, `${folders++}`);

const epoch: fc.Arbitrary<EpochEvents> = fc.record({
  writes: fc.array(fc.tuple(fc.nat(2), fc.nat(memoryPages - 1), fc.nat(20)), { maxLength: 6 }),
  stored: fc.oneof({ weight: 3, arbitrary: fc.constant<[boolean, boolean]>([true, true]) }, { weight: 1, arbitrary: fc.tuple(fc.boolean(), fc.boolean()) }),
  late: fc.nat(9).map((value) => value === 0),
  full: fc.nat(20).map((value) => (value < 3 ? value : null)),
  recovery: fc.nat(9).map((value) => value === 0),
});
const quiet: EpochEvents = { writes: [], stored: [true, true], late: false, full: null, recovery: false };
const busy = (at: number): EpochEvents => ({ ...quiet, writes: [[0, at, at + 1], [1, at + 1, at + 7], [2, 3, at]] });

async function committed(epochs: number, change: (at: number) => Partial<EpochEvents> = () => ({})): Promise<History> {
  const history = new History(3);
  for (let at = 0; at < epochs; at++) await history.run({ ...busy(at), ...change(at) });
  return history;
}
const last = (history: History): CommittedCut => history.cuts.at(-1) as CommittedCut;

async function expectAt(fold: ReplicaFold, cut: CommittedCut): Promise<void> {
  expect(fold.tip).toEqual(cut.ref);
  expect(await fold.digests()).toEqual(cut.digests);
  for (const [vm, device] of Object.entries(cut.device)) {
    const view = await fold.restoreView(vm);
    expect((await view.device()).toString()).toBe(device);
    view.close();
  }
  expect(fold.channel()).toEqual(cut.packs.filter((pack) => pack.epoch === cut.ref.epoch).flatMap((pack) => pack.channel));
}

describe('folding', () => {
  it('equals the guests at every cut, whatever was aborted, merged, cut short or recovered, step by step and from the store', async () => {
    await fc.assert(fc.asyncProperty(fc.array(epoch, { minLength: 1, maxLength: 14 }), fc.nat(3), async (epochs, restart) => {
      const history = new History(3);
      const path = folder();
      let fold = await ReplicaFold.open({ folder: path, cluster, images: storedImages(history.objects, cluster) });
      for (const [at, events] of epochs.entries()) {
        const cut = await history.run(events);
        if (cut === null) continue;
        await fold.apply(cut.manifest, cut.packs);
        await expectAt(fold, cut);
        if (at % 4 === restart) {
          await fold.close();
          fold = await ReplicaFold.open({ folder: path, cluster, images: storedImages(history.objects, cluster) });
          expect(fold.discarded).toBeNull();
          await expectAt(fold, cut);
        }
      }
      await fold.close();
      const tip = history.cuts.at(-1);
      expect((await lineage(history.objects, cluster))?.tip ?? null).toEqual(tip?.ref ?? null);
      if (tip === undefined) return;
      const again = await foldCut(history.objects, tip.ref, folder());
      await expectAt(again, tip);
      await again.close();
      expect(await verifyCut(history.objects, tip.ref, { scratch: root })).toMatchObject({ ok: true, vms: tip.digests });
      const walked: string[] = [];
      for await (const { ref } of walkCuts(history.objects, tip.ref)) walked.unshift(ref.hash);
      expect(walked).toEqual(history.cuts.map(({ ref }) => ref.hash));
    }), { numRuns: 60 });
  });

  it('finds and names any changed, cut short or missing object of the lineage, and never folds it', async () => {
    const history = await committed(6, (at) => ({ stored: at === 3 ? [true, false] : [true, true], recovery: at === 4 }));
    const tip = last(history);
    const good = new Map(history.objects.map);
    const needed = [...good.keys()].filter((key) => !key.includes('/generations/') && !(key.includes('/packs/') && !history.cuts.some(({ packs }) => packs.some((pack) => pack.key === key))));
    await fc.assert(fc.asyncProperty(fc.constantFrom(...needed), fc.nat(), fc.constantFrom('flip', 'cut', 'gone'), async (key, at, damage) => {
      const bytes = good.get(key) as Buffer;
      const bad = Buffer.from(bytes);
      bad[(at >> 3) % bad.length] = (bad[(at >> 3) % bad.length] as number) ^ (1 << (at & 7));
      if (damage === 'gone') history.objects.map.delete(key);
      else history.objects.map.set(key, damage === 'flip' ? bad : bytes.subarray(0, at % bytes.length));
      const verdict = await verifyCut(history.objects, tip.ref, { scratch: root });
      // A cut that is gone is named by the one that follows it: its own key is not known.
      const follower = history.cuts[history.cuts.findIndex(({ ref }) => ref.key === key) + 1]?.ref.key;
      expect(verdict.ok).toBe(false);
      if (!verdict.ok) expect([key, ...(damage === 'gone' && key.includes('/cuts/') && follower ? [follower] : [])]).toContain(verdict.key);
      const folded = await foldCut(history.objects, tip.ref, folder()).catch((error: unknown) => error);
      if (folded instanceof ReplicaFold) {
        // Damage where a fold does not look (an aborted epoch's channel state): what it folds is right all the same.
        await expectAt(folded, tip);
        await folded.close();
      } else {
        expect(folded).toBeInstanceOf(CutBroken);
      }
      history.objects.map.set(key, bytes);
    }), { numRuns: 150 });
  });

  it('throws trouble with the store instead of calling a cut broken', async () => {
    const history = await committed(2);
    const trouble = Object.assign(new Error('cut off'), { code: 'STORE_UNAVAILABLE' });
    history.objects.get = () => Promise.reject(trouble);
    await expect(verifyCut(history.objects, last(history).ref, { scratch: root })).rejects.toBe(trouble);
  });

  it('catches up from what the folder holds, reading only what is new', async () => {
    const history = await committed(8);
    const path = folder();
    const early = history.cuts[5] as CommittedCut;
    await (await foldCut(history.objects, early.ref, path)).close();
    history.objects.reads = 0;
    const fold = await foldCut(history.objects, last(history).ref, path);
    expect(fold.discarded).toBeNull();
    await expectAt(fold, last(history));
    await fold.close();
    const caughtUp = history.objects.reads;
    history.objects.reads = 0;
    await (await foldCut(history.objects, last(history).ref, folder())).close();
    expect(caughtUp).toBeLessThan(history.objects.reads);
  });

  it('goes back to an earlier cut by folding it from the store', async () => {
    const history = await committed(5);
    const path = folder();
    await (await foldCut(history.objects, last(history).ref, path)).close();
    const early = history.cuts[1] as CommittedCut;
    const fold = await foldCut(history.objects, early.ref, path);
    await expectAt(fold, early);
    await fold.close();
  });

  it('refuses a cut that leaves a gap, packs that are not the cut\'s, and stays as it was', async () => {
    const history = await committed(4);
    const [first, second, third] = history.cuts as [CommittedCut, CommittedCut, CommittedCut];
    const fold = await ReplicaFold.open({ folder: folder(), cluster, images: storedImages(history.objects, cluster) });
    await fold.apply(first.manifest, first.packs);
    await expect(fold.apply(third.manifest, third.packs)).rejects.toThrow(FoldGap);
    await expect(fold.apply(second.manifest, first.packs)).rejects.toThrow(FoldGap);
    await expect(fold.apply(second.manifest, second.packs.slice(1))).rejects.toThrow(FoldGap);
    await expectAt(fold, first);
    await fold.apply(second.manifest, second.packs);
    await expectAt(fold, second);
    await fold.close();
  });

  it('takes a full segment of another memory size', async () => {
    const history = await committed(2);
    const fold = await foldCut(history.objects, last(history).ref, folder());
    const [guest] = history.guests as [History['guests'][number]];
    guest.memory = Buffer.alloc(3 * memoryPages * 4096, 7);
    await history.run({ ...quiet, full: 0 });
    await fold.apply(last(history).manifest, last(history).packs);
    await expectAt(fold, last(history));
    await history.run(busy(5));
    await fold.apply(last(history).manifest, last(history).packs);
    await expectAt(fold, last(history));
    await fold.close();
  });

  it('never folds a well-formed segment in the place of another', async () => {
    const history = await committed(3);
    for (const cut of history.cuts) {
      const pack = cut.packs[0] as (typeof cut.packs)[number];
      // The index keeps the names of the right segments; everything has the length it should have.
      const forged = await Promise.all(pack.segments.map(async ({ header, hash, pages, disks }) => ({ header, hash, bytes: (await encodeSegment(header, { pages, disks, device: Buffer.from(`${header.vm} at 9`) })).bytes })));
      const bytes = encodePack({ ...pack, segments: forged }).bytes;
      expect(bytes.length).toBe(pack.bytes.length);
      history.objects.map.set(pack.key, bytes);
      await expect(foldCut(history.objects, last(history).ref, folder())).rejects.toMatchObject({ code: 'CUT_BROKEN', key: pack.key });
      expect(await verifyCut(history.objects, last(history).ref, { scratch: root })).toMatchObject({ ok: false, key: pack.key });
      history.objects.map.set(pack.key, pack.bytes);
    }
  });

  it('names the pack of a segment whose pages are damaged though every hash is right', async () => {
    const history = await committed(3);
    const { manifest, packs } = last(history);
    const path = folder();
    await (await foldCut(history.objects, (history.cuts[1] as CommittedCut).ref, path)).close();
    const [pack] = packs as [(typeof packs)[number]];
    const forged = await Promise.all(pack.segments.map(async ({ header, pages, disks }) => {
      const bad = Buffer.from(pages);
      bad.writeUInt8(bad.readUInt8(bad.length - 1) ^ 1, bad.length - 1);
      return encodeSegment(header, { pages: bad, disks, device: Buffer.from('any') });
    }));
    const { key, hash, bytes } = encodePack({ ...pack, segments: forged });
    history.objects.map.set(key, bytes);
    const vms = Object.fromEntries(Object.entries(manifest.vms).map(([vm, told]) => [vm, { ...told, segment: forged.find(({ header }) => header.vm === vm)?.hash ?? told.segment }]));
    const cut = encodeManifest({ ...manifest, vms, packs: [...manifest.packs.filter((each) => each.key !== pack.key), { host: pack.host, epoch: pack.epoch, key, hash, bytes: bytes.length }] });
    history.objects.map.set(cut.key, cut.bytes);
    for (const where of [path, folder()]) await expect(foldCut(history.objects, cut, where)).rejects.toMatchObject({ code: 'CUT_BROKEN', key, message: expect.stringContaining('page section') });
    const fold = await foldCut(history.objects, last(history).ref, path);
    expect(fold.discarded).toContain('was interrupted');
    await expectAt(fold, last(history));
    await fold.close();
  });

  it('refuses a manifest that lies about a segment', async () => {
    const history = await committed(1);
    const [cut] = history.cuts as [CommittedCut];
    for (const lie of [{ runState: 'paused' }, { disks: [] }, { disks: [{ name: 'root', bytes: 4096, image: null }] }]) {
      const manifest = parseManifest(history.objects.map.get(cut.ref.key) as Buffer);
      Object.assign(manifest.vms['vm-0'] as object, lie);
      const fold = await ReplicaFold.open({ folder: folder(), cluster, images: storedImages(history.objects, cluster) });
      await expect(fold.apply(manifest, cut.packs)).rejects.toThrow('tells other things');
      await fold.close();
    }
  });
});

describe('a view', () => {
  it('pins the fold: a change waits for all views, other views do not wait for the change', async () => {
    const history = await committed(2);
    const [first, second] = history.cuts as [CommittedCut, CommittedCut];
    const fold = await ReplicaFold.open({ folder: folder(), cluster, images: storedImages(history.objects, cluster) });
    await fold.apply(first.manifest, first.packs);
    const one = await fold.restoreView('vm-0');
    let applied = false;
    const applying = fold.apply(second.manifest, second.packs).then(() => { applied = true; });
    const two = await fold.restoreView('vm-1');
    expect(fold.waiting).toBe(1);
    one.close();
    one.close();
    expect(await two.memory.digest()).toBe(first.digests['vm-1']);
    expect(await fold.digests()).toEqual(first.digests);
    expect(applied).toBe(false);
    two.close();
    await applying;
    await expectAt(fold, second);
    await expect(two.memory.digest()).rejects.toThrow('closed');
    await fold.close();
  });

  it('gives the pages of its extents, which rebuild the memory', async () => {
    const history = await committed(3);
    const fold = await foldCut(history.objects, last(history).ref, folder());
    const view = await fold.restoreView('vm-0');
    const extents = await view.memory.extents();
    const { ReplicaImage } = await import('@virtcft/native');
    const copy = new ReplicaImage({ path: join(root, 'copy.image'), bytes: view.memory_bytes });
    for (let at = 0; at < extents.length; at += 2) await copy.apply(await view.memory.read(extents[at] as number, extents[at + 1] as number));
    expect(await copy.digest()).toBe(last(history).digests['vm-0']);
    copy.close();
    await expect(fold.restoreView('nobody')).rejects.toThrow(RangeError);
    view.close();
    await fold.close();
  });
});

describe('a fold\'s folder', () => {
  const open = async (path: string, { objects }: History) => ReplicaFold.open({ folder: path, cluster, images: storedImages(objects, cluster) });

  it('is taken up after a crash of the process between two cuts', async () => {
    const history = await committed(3);
    const [path, left] = [folder(), folder()];
    const [first] = history.cuts as [CommittedCut];
    const living = await open(path, history);
    await living.apply(first.manifest, first.packs);
    await cp(path, left, { recursive: true }); // what a killed process leaves
    await living.close();
    const fold = await open(left, history);
    expect(fold.discarded).toBeNull();
    await expectAt(fold, first);
    await fold.close();
  });

  it.each([
    ['interrupted while folding', async (path: string) => writeFile(join(path, 'applying'), 'some cut'), 'interrupted'],
    ['left by another boot without a close', async (path: string) => change(path, (tip) => { tip['boot'] = 'another'; tip['digests'] = null; }), 'restarted'],
    ['left by another boot with a damaged image', async (path: string) => {
      await change(path, (tip) => { tip['boot'] = 'another'; });
      const image = await readFile(join(path, 'vm-0.image'));
      image[5000] = (image[5000] as number) ^ 1;
      await writeFile(join(path, 'vm-0.image'), image);
    }, 'not what was left'],
    ['with a torn tip', async (path: string) => writeFile(join(path, 'tip.json'), '{"format":'), 'cannot be read'],
    ['of another cluster', async (path: string) => change(path, (tip) => { tip['cluster'] = '00000000-0000-4000-8000-000000000000'; }), 'cluster'],
  ])('is thrown away when it is %s', async (_, damage, reason) => {
    const history = await committed(2);
    const path = folder();
    await (await foldCut(history.objects, last(history).ref, path)).close();
    await damage(path);
    const fold = await open(path, history);
    expect(fold.discarded).toContain(reason);
    expect(fold.tip).toBeNull();
    await fold.close();
    const rebuilt = await foldCut(history.objects, last(history).ref, path);
    await expectAt(rebuilt, last(history));
    await rebuilt.close();
  });

  it('is taken up in another boot after an orderly close', async () => {
    const history = await committed(2);
    const path = folder();
    await (await foldCut(history.objects, last(history).ref, path)).close();
    await change(path, (tip) => { tip['boot'] = 'another'; });
    const fold = await open(path, history);
    expect(fold.discarded).toBeNull();
    await expectAt(fold, last(history));
    await fold.close();
  });
});

async function change(path: string, edit: (tip: Record<string, unknown>) => void): Promise<void> {
  const tip = JSON.parse(await readFile(join(path, 'tip.json'), 'utf8')) as Record<string, unknown>;
  edit(tip);
  await writeFile(join(path, 'tip.json'), JSON.stringify(tip));
}
