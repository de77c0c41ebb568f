import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { allCuts, Audit, chunkKey, chunksOf, CutBroken, cutsBehind, foldCut, parseBaseKey, partsOf, verifyCut, writeBase, ContentUses } from '../src/index.js';
import { writeBases } from './bases.js';
import { History, rootImage } from './history.js';
import type { CommittedCut, EpochEvents } from './history.js';

let root: string;
let folders = 0;
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'virtcft-bases-')); });
afterAll(async () => { await rm(root, { recursive: true, force: true }); });

const quiet = (at: number): EpochEvents => ({ writes: [[0, at, at + 1], [1, 3, at], [2, at, 0]], stored: [true, true], late: false, full: null, recovery: false });
const lived = async (epochs: number): Promise<History> => {
  const history = new History(3);
  for (let at = 0; at < epochs; at++) await history.run(quiet(at));
  return history;
};
const cutOf = (history: History, at: number): CommittedCut => history.cuts.at(at) as CommittedCut;
const remove = (history: History, which: (key: string) => boolean): void => { for (const key of [...history.objects.map.keys()]) if (which(key)) history.objects.map.delete(key); };
/** Everything of cuts up to this one, that later ones could do without. */
const removeUpTo = (history: History, last: CommittedCut): void => {
  const gone = new Set(history.cuts.slice(0, history.cuts.indexOf(last) + 1).flatMap(({ ref, manifest }) => [ref.key, ...manifest.packs.map(({ key }) => key)]));
  remove(history, (key) => gone.has(key));
};

async function expectFolds(history: History, cut: CommittedCut): Promise<void> {
  const fold = await foldCut(history.objects, cut.ref, join(root, `${folders++}`));
  expect(await fold.digests()).toEqual(cut.digests);
  for (const vm of fold.vms) {
    const view = await fold.restoreView(vm);
    expect((await view.device()).toString()).toBe(cut.device[vm]);
    view.close();
  }
  await fold.close();
}

describe('a base', () => {
  it('stands for all that came before it: what it folds to is what the chain folds to, memory, device and disks', async () => {
    const history = await lived(6);
    const written = await writeBases(history.objects, cutOf(history, 3), root);
    expect(written).toHaveLength(3);
    removeUpTo(history, cutOf(history, 2));
    for (const at of [3, 4, 5]) await expectFolds(history, cutOf(history, at));
    removeUpTo(history, cutOf(history, 3));
    for (const at of [4, 5]) await expectFolds(history, cutOf(history, at));
    // Its own pack has the channel state, and the manifest says that the cut is one.
    await expect(foldCut(history.objects, cutOf(history, 3).ref, join(root, `${folders++}`))).rejects.toMatchObject({ code: 'CUT_BROKEN', key: cutOf(history, 3).ref.key });
  });

  it('of one VM shortens its chain only, and a fold that is nearer is gone on from', async () => {
    const history = await lived(5);
    await writeBases(history.objects, cutOf(history, 2), root, { vms: ['vm-1'] });
    const { reads } = history.objects;
    const folder = join(root, `${folders++}`);
    await (await foldCut(history.objects, cutOf(history, 3).ref, folder)).close();
    expect(history.objects.reads - reads).toBeGreaterThan(12);
    const before = history.objects.reads;
    const fold = await foldCut(history.objects, cutOf(history, 4).ref, folder);
    expect(history.objects.reads - before).toBeLessThan(12);
    expect(await fold.digests()).toEqual(cutOf(history, 4).digests);
    await fold.close();
    await expectFolds(history, cutOf(history, 4));
  });

  it('shares chunks with images, other VMs and earlier bases: what is there is not put again', async () => {
    const history = await lived(2);
    const first = await writeBases(history.objects, cutOf(history, 1), root);
    const disk = first[0]?.base.disks[0];
    expect(disk).toMatchObject({ name: 'root', image: rootImage.hash, chunk_bytes: 1024 * 1024 });
    expect(await writeBases(history.objects, cutOf(history, 1), root)).toMatchObject([{ new_chunks: 0, written_bytes: 0 }, { new_chunks: 0 }, { new_chunks: 0 }]);
    await history.run({ ...quiet(7), writes: [] });
    // Only the device state is another one.
    expect(await writeBases(history.objects, cutOf(history, 2), root)).toMatchObject([{ new_chunks: 1 }, { new_chunks: 1 }, { new_chunks: 1 }]);
  });

  it('is not written over a chunk of the store that holds something else', async () => {
    const history = await lived(2);
    const [written] = await writeBases(history.objects, cutOf(history, 1), root);
    const [hash] = chunksOf(partsOf(written?.base as NonNullable<typeof written>['base']));
    const key = chunkKey({ cluster: cutOf(history, 0).manifest.cluster, hash: hash ?? '' });
    const stored = history.objects.map.get(key) as Buffer;
    history.objects.map.set(key, Buffer.concat([stored.subarray(0, -4), Buffer.alloc(4, 0x5a)]));
    remove(history, (each) => each.includes('/bases/'));
    await expect(writeBases(history.objects, cutOf(history, 1), root)).rejects.toMatchObject({ code: 'CUT_BROKEN', key });
    expect([...history.objects.map.keys()].filter((each) => each.includes('/bases/'))).toEqual([]);
  });

  it('leaves at most chunks behind when its writer ends at any point, and the next writer uses them', async () => {
    const history = await lived(2);
    for (let allowed = 0; ; allowed++) {
      let puts = 0;
      const store = Object.assign(Object.create(history.objects) as typeof history.objects, {
        put: async (key: string, body: Buffer) => {
          if (puts++ >= allowed) throw new Error('the power is gone');
          return history.objects.put(key, body);
        },
      });
      const fold = await foldCut(history.objects, cutOf(history, 1).ref, join(root, `${folders++}`));
      const ended = await writeBase(store, fold, 'vm-0', { hold: new ContentUses(0).hold() }).then(() => 'written', () => 'failed');
      await fold.close();
      const bases = [...history.objects.map.keys()].filter((key) => key.includes('/bases/'));
      expect(bases).toHaveLength(ended === 'written' ? 1 : 0);
      await expectFolds(history, cutOf(history, 1));
      if (ended === 'written') break;
      // The next one finds what this one left, so each goes one further.
      expect(allowed).toBeLessThan(20);
    }
  });
});

describe('a broken base', () => {
  const damage = (history: History, key: string, how: string): void => {
    const body = history.objects.map.get(key) as Buffer;
    if (how === 'missing') history.objects.map.delete(key);
    else if (how === 'cut short') history.objects.map.set(key, body.subarray(0, -1));
    else history.objects.map.set(key, Buffer.from(body.map((byte, at) => (at === body.length - 2 ? byte ^ 4 : byte))));
  };

  it.each(['missing', 'cut short', 'changed'])('(%s) or chunk of it is found and named by every reader, and passed over while the chain is there', async (how) => {
    for (const which of ['base', 'chunk']) {
      const history = await lived(5);
      const [, written] = await writeBases(history.objects, cutOf(history, 2), root);
      if (written === undefined) throw new Error('no base was written');
      const { cluster } = written.base;
      const [hash = ''] = written.base.memory.chunks.flatMap((chunk) => chunk ?? []);
      const key = which === 'base' ? written.key : chunkKey({ cluster, hash });
      damage(history, key, how);
      // A base that is not there at all is only a longer chain.
      const lost = how === 'missing' && which === 'base';
      await expectFolds(history, cutOf(history, 4));
      expect(await verifyCut(history.objects, cutOf(history, 4).ref)).toMatchObject({ ok: true });
      const audit = new Audit(history.objects, cluster);
      await audit.generations();
      await audit.bases();
      for (const cut of await allCuts(history.objects, cluster, [])) await audit.cut(cut);
      expect(audit.faults).toMatchObject(lost ? [] : [{ key }]);
      expect(audit.broken).toEqual([]);

      removeUpTo(history, cutOf(history, 2));
      const named = lost ? { key: expect.stringContaining('/cuts/') as string } : { key };
      await expect(foldCut(history.objects, cutOf(history, 4).ref, join(root, `${folders++}`))).rejects.toThrow(CutBroken);
      if (!lost) await expect(foldCut(history.objects, cutOf(history, 4).ref, join(root, `${folders++}`))).rejects.toMatchObject(named);
      if (!lost) expect(await verifyCut(history.objects, cutOf(history, 4).ref)).toMatchObject({ ok: false, ...named });
      const after = new Audit(history.objects, cluster);
      await after.bases();
      for (const cut of await allCuts(history.objects, cluster, [])) await after.cut(cut);
      if (!lost) expect(after.faults.map((fault) => fault.key)).toContain(key);
      expect(after.broken.map((cut) => cut.hash)).toContain(cutOf(history, 4).ref.hash);
    }
  });

  it('none of a base, and it stands for the cuts that an audit cannot follow', async () => {
    const history = await lived(6);
    await writeBases(history.objects, cutOf(history, 3), root);
    removeUpTo(history, cutOf(history, 3));
    const { cluster } = cutOf(history, 0).manifest;
    const audit = new Audit(history.objects, cluster);
    const bases = await audit.bases();
    expect(bases.map((key) => parseBaseKey(key)?.vm)).toEqual(['vm-0', 'vm-1', 'vm-2']);
    for (const cut of await allCuts(history.objects, cluster, [])) expect(await audit.cut(cut)).toBe(true);
    expect([audit.faults, audit.broken]).toEqual([[], []]);
    expect((await cutsBehind(history.objects, cutOf(history, 5).ref)).map(({ hash }) => hash)).toEqual([4, 5].map((at) => cutOf(history, at).ref.hash));
    // Those that were read before are not read again.
    const { read_bytes } = audit;
    const again = new Audit(history.objects, cluster);
    await again.bases(new Set(bases));
    expect(again.read_bytes).toBeLessThan(read_bytes / 2);
  });

  it('is any change of its object or of a chunk', async () => {
    const history = await lived(2);
    const [written] = await writeBases(history.objects, cutOf(history, 1), root, { vms: ['vm-1'] });
    if (written === undefined) throw new Error('no base was written');
    const body = history.objects.map.get(written.key) as Buffer;
    await fc.assert(fc.asyncProperty(fc.nat(body.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      history.objects.map.set(written.key, Buffer.from(body.map((byte, each) => (each === at ? byte ^ flip : byte))));
      const audit = new Audit(history.objects, written.base.cluster);
      await audit.bases();
      expect(audit.faults).toMatchObject([{ key: written.key, part: 'base' }]);
    }), { numRuns: 60 });
  });
});
