import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { chunkKey, collectGarbage, ContentUses, foldCut, parseBaseKey, parseChunkKey, pendingPacks, readContentFacts, readCutFacts, readPackUses, removeGarbage, Unreachable } from '../src/index.js';
import type { ContentFacts, CutFacts, GarbageQuestion } from '../src/index.js';
import { writeBases } from './bases.js';
import { History, memoryPages, rootImage } from './history.js';
import type { EpochEvents } from './history.js';

let root: string;
let folders = 0;
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'virtcft-garbage-')); });
afterAll(async () => { await rm(root, { recursive: true, force: true }); });

const epoch: fc.Arbitrary<EpochEvents> = fc.record({
  writes: fc.array(fc.tuple(fc.nat(2), fc.nat(memoryPages - 1), fc.nat(20)), { maxLength: 4 }),
  stored: fc.oneof({ weight: 3, arbitrary: fc.constant<[boolean, boolean]>([true, true]) }, { weight: 1, arbitrary: fc.tuple(fc.boolean(), fc.boolean()) }),
  late: fc.nat(9).map((value) => value === 0),
  full: fc.nat(3).map((value) => (value < 3 ? value : null)),
  recovery: fc.nat(9).map((value) => value === 0),
});
const quiet: EpochEvents = { writes: [[0, 1, 2]], stored: [true, true], late: false, full: null, recovery: false };

async function question(history: History, retained: Iterable<string>, marked: boolean): Promise<GarbageQuestion> {
  const cuts: CutFacts[] = [];
  for (const { ref } of history.cuts) if (history.objects.map.has(ref.key)) cuts.push(await readCutFacts(history.objects, ref));
  const objects = [...history.objects.map].map(([key, bytes]) => ({ key, bytes: bytes.length }));
  const at = { objects, generation: history.generation, tip: history.cuts.at(-1)?.ref ?? null };
  const contents: ContentFacts[] = [];
  for (const { key } of objects) contents.push(...[await readContentFacts(history.objects, key)].filter((facts) => facts !== null));
  const pending = await Promise.all(pendingPacks(at).map((key) => readPackUses(history.objects, key)));
  const [pendingImages, pendingReferences] = [new Set(pending.flatMap(({ images }) => images)), new Set(pending.flatMap(({ packs }) => packs))];
  return {
    ...at, cuts, contents, pendingImages, pendingReferences, retained: new Set(retained),
    marks: new Map(marked ? objects.map(({ key }) => [key, 0]) : []), now_ms: 1_000, grace_ms: 1_000,
  };
}

const base = fc.record({
  after: fc.nat(11), vms: fc.subarray(['vm-0', 'vm-1', 'vm-2'], { minLength: 1 }),
  /** After which the writer dies. */
  puts: fc.oneof({ weight: 3, arbitrary: fc.constant(1_000) }, { weight: 1, arbitrary: fc.nat(6) }),
});

async function writeSomeBases(history: History, vms: readonly string[], puts: number): Promise<void> {
  const cut = history.cuts.at(-1);
  if (cut === undefined) return;
  let left = puts;
  const store = Object.assign(Object.create(history.objects) as History['objects'], {
    put: async (key: string, body: Buffer) => {
      if (left-- <= 0) throw new Error('the writer died');
      return history.objects.put(key, body);
    },
  });
  await writeBases(store, cut, root, { vms }).catch((error: unknown) => { if ((error as Error).message !== 'the writer died') throw error; });
}

/** Runs what the scheduler holds until the upload has ended, in an order of its choice. */
async function drain(scheduler: fc.Scheduler, ended: () => boolean): Promise<void> {
  for (let idle = 0; idle < 50;) {
    if (scheduler.count() > 0) await scheduler.waitOne();
    else await new Promise((resolve) => setImmediate(resolve));
    idle = scheduler.count() === 0 && ended() ? idle + 1 : 0;
  }
}

async function expectFolds(history: History, hash: string): Promise<void> {
  const cut = history.cuts.find(({ ref }) => ref.hash === hash) as History['cuts'][number];
  const fold = await foldCut(history.objects, cut.ref, join(root, `${folders++}`));
  expect(await fold.digests()).toEqual(cut.digests);
  await fold.close();
}

describe('garbage', () => {
  it('leaves every retained cut as it was, whatever was aborted, merged, cut short or recovered, and the cluster goes on', async () => {
    let removed = 0;
    let chained = 0;
    let referred = 0;
    await fc.assert(fc.asyncProperty(fc.array(epoch, { minLength: 2, maxLength: 12 }), fc.array(fc.nat(11), { maxLength: 3 }), fc.nat(11), fc.array(base, { maxLength: 3 }), fc.constantFrom(1, 4), async (epochs, chosen, when, bases, sections) => {
      const history = new History(3, sections as 1 | 4);
      let retained = new Set<string>();
      const collect = async (): Promise<void> => {
        retained = new Set([...chosen.flatMap((at) => history.cuts[at]?.ref.hash ?? []), ...history.cuts.slice(-1).map(({ ref }) => ref.hash)]
          .filter((hash) => history.cuts.some(({ ref }) => ref.hash === hash && history.objects.map.has(ref.key))));
        const asked = await question(history, retained, true);
        const { remove } = collectGarbage(asked);
        removed += remove.length;
        referred += asked.cuts.filter(({ hash }) => retained.has(hash)).reduce((sum, { references }) => sum + references.length, 0);
        chained += remove.filter(({ key }) => key.includes('/packs/') && asked.contents.some((each) => parseBaseKey(each.key) !== null)).length;
        for (const { key } of remove) history.objects.map.delete(key);
      };
      for (const [at, events] of epochs.entries()) {
        await history.run(events);
        for (const { vms, puts } of bases.filter(({ after }) => after === at)) await writeSomeBases(history, vms, puts);
        // In the middle of its life too: what is stored and not committed must outlive it.
        if (at === when) await collect();
      }
      await collect();
      for (const hash of retained) await expectFolds(history, hash);
      // What is left is needed: another look finds nothing more, and no chunk that nothing names.
      const left = await question(history, retained, true);
      expect(collectGarbage(left).remove).toEqual([]);
      if (left.tip?.generation === left.generation) {
        const named = new Set(left.contents.flatMap(({ chunks }) => chunks));
        expect(left.objects.map(({ key }) => parseChunkKey(key)?.hash).filter((hash) => hash !== undefined && !named.has(hash))).toEqual([]);
      }
      await history.run(quiet);
      await history.run(quiet);
      if (history.cuts.length > 0) await expectFolds(history, history.cuts.at(-1)?.ref.hash ?? '');
    }), { numRuns: 40 });
    expect(removed).toBeGreaterThan(0);
    expect(chained).toBeGreaterThan(0);
    expect(referred).toBeGreaterThan(0);
  });

  it('is all that came before the bases of a chain that never ends, and content that nothing names any more', async () => {
    const history = new History(3);
    for (let at = 0; at < 8; at++) {
      await history.run({ ...quiet, writes: [[0, at, at + 1], [1, at, at + 2]] });
      if (at === 2 || at === 5) await writeBases(history.objects, history.cuts[at] as History['cuts'][number], root);
    }
    const last = history.cuts.at(-1)?.ref.hash ?? '';
    const { remove } = collectGarbage(await question(history, [last], true));
    const why = (kind: string): string[] => remove.filter(({ key }) => key.includes(`/${kind}/`)).map((each) => each.why);
    expect(why('cuts')).toHaveLength(6);
    expect(why('packs')).toHaveLength(12);
    expect(why('bases')).toEqual(Array.from({ length: 3 }, () => 'no chain of a retained cut ends in it'));
    expect(why('chunks').length).toBeGreaterThan(0);
    // The image is still named by the disks of the cut, though the base of the disk holds all that it needs.
    expect(why('images')).toEqual([]);
    // A base of which a chunk is lost is none: what is behind it stays.
    const base = [...history.objects.map.keys()].filter((key) => key.includes('/bases/') && key.includes('-vm-1-')).at(-1) ?? '';
    const [chunk = ''] = (await readContentFacts(history.objects, base))?.chunks ?? [];
    const wanted = await question(history, [last], true);
    const without = collectGarbage({ ...wanted, objects: wanted.objects.filter(({ key }) => parseChunkKey(key)?.hash !== chunk) });
    expect(without.remove.filter(({ key }) => key.includes('/packs/'))).toHaveLength(6);
    for (const { key } of remove) history.objects.map.delete(key);
    await expectFolds(history, last);
    expect([...history.objects.map.keys()].some((key) => key.endsWith(rootImage.hash))).toBe(true);
  });

  it('is no content that an upload found and names later, however looks and uploads are interleaved', async () => {
    let met = 0;
    await fc.assert(fc.asyncProperty(fc.scheduler(), fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 4, maxLength: 12 }), fc.array(fc.nat(3), { minLength: 1, maxLength: 4 }), async (scheduler, steps_ms, wanted) => {
      const [cluster, grace_ms] = ['3f0c4a52-7a0e-4d0a-9f39-0d6c1f2b7a11', 10];
      const keyOf = (chunk: number): string => chunkKey({ cluster, hash: `${chunk}`.repeat(64) });
      let now_ms = 0;
      const uses = new ContentUses(grace_ms, () => now_ms);
      const store = new Set([0, 1, 2, 3].map(keyOf));
      const step = <T>(does: () => T): Promise<T> => scheduler.schedule(Promise.resolve(), 'step').then(does);
      let committed = false;
      // As the routes do: a chunk is used before it is looked for; the image, when all are used and there, and held until it is put and named.
      const upload = async (): Promise<void> => {
        for (const chunk of wanted) {
          await uses.use(keyOf(chunk));
          if (!await step(() => store.has(keyOf(chunk)))) await step(() => store.add(keyOf(chunk)));
        }
        const hold = uses.hold();
        try {
          for (const chunk of wanted) {
            await hold.use(keyOf(chunk));
            if (!await step(() => store.has(keyOf(chunk)))) return await upload();
          }
          committed = await step(() => true);
        } finally {
          hold.release();
        }
      };
      const collect = async (): Promise<void> => {
        for (const step_ms of steps_ms) {
          const looked_ms = now_ms;
          const roots = committed ? wanted.map(keyOf) : [];
          const remove = [...store].filter((key) => !roots.includes(key)).map((key) => ({ key, bytes: 1, why: '' }));
          await step(() => { now_ms += step_ms; });
          met += (await removeGarbage(remove, [], uses, looked_ms, { remove: (key) => step(() => void store.delete(key)) })).length;
        }
      };
      await Promise.all([upload(), collect(), drain(scheduler, () => committed)]);
      expect(wanted.map(keyOf).filter((key) => !store.has(key))).toEqual([]);
    }), { numRuns: 300 });
    expect(met).toBeGreaterThan(0);
  });

  it('spares what an image or a base names as long as that is used itself', async () => {
    const history = new History(1);
    const objects = [...history.objects.map.keys()].filter((key) => /images|chunks/.test(key)).sort((a, b) => (a < b ? 1 : -1));
    const contents = (await Promise.all(objects.map((key) => readContentFacts(history.objects, key)))).filter((facts) => facts !== null);
    let now_ms = 20;
    const uses = new ContentUses(10, () => now_ms);
    now_ms = 40;
    await uses.use(objects.find((key) => key.includes('/images/')) ?? '');
    const remove = objects.map((key) => ({ key, bytes: 1, why: '' }));
    const from = { remove: async (key: string) => void history.objects.map.delete(key) };
    expect(await removeGarbage(remove, contents, uses, now_ms, from)).toEqual([]);
    now_ms = 60;
    expect(await removeGarbage(remove, contents, uses, now_ms, from)).toHaveLength(3);
  });

  it('is no pack that a retained cut refers to, or one that may yet be committed, though no cut that is left holds it', async () => {
    const history = new History(2, 4);
    // A page of the one VM, which the other writes after it was committed.
    await history.run({ ...quiet, writes: [[0, 2, 3]] });
    const source = history.cuts[0]?.packs[0]?.key ?? '';
    for (const full of [0, 1]) await history.run({ ...quiet, writes: [[full, 4, 1]], full });
    const removedWhen = async (retained: number): Promise<string[]> => collectGarbage(await question(history, [history.cuts[retained]?.ref.hash ?? ''], true)).remove.map(({ key }) => key);
    // Two chains that begin anew, and need nothing older.
    expect(await removedWhen(2)).not.toContain(history.cuts[1]?.packs[0]?.key);
    await history.run({ ...quiet, writes: [[1, 5, 3]], stored: [false, true] });
    const pending = [...history.objects.map.keys()].filter((key) => key.includes('/packs/')).sort().at(-1) ?? '';
    expect((await readPackUses(history.objects, pending)).packs).toEqual([source]);
    expect(await removedWhen(2)).not.toContain(source);
    await history.run({ ...quiet, writes: [[0, 6, 1]] });
    expect(history.cuts.at(-1)?.packs.map(({ key }) => key)).toContain(pending);
    const removed = await removedWhen(3);
    expect(removed).toContain(history.cuts[0]?.ref.key);
    expect(removed).not.toContain(source);
    for (const key of removed) history.objects.map.delete(key);
    await expectFolds(history, history.cuts[3]?.ref.hash ?? '');
  });

  it('is no pack that one which is being stored refers to', async () => {
    const history = new History(1);
    await history.run(quiet);
    const key = history.cuts[0]?.packs[0]?.key ?? '';
    let now_ms = 20;
    const uses = new ContentUses(10, () => now_ms);
    const held = uses.hold();
    await held.use(key);
    now_ms = 60;
    const remove = [{ key, bytes: 1, why: '' }];
    const from = { remove: async (each: string) => void history.objects.map.delete(each) };
    expect(await removeGarbage(remove, [], uses, now_ms, from)).toEqual([]);
    held.release();
    expect(await removeGarbage(remove, [], uses, now_ms, from)).toEqual([]);
    expect(history.objects.map.has(key)).toBe(true);
    now_ms = 70;
    expect(await removeGarbage(remove, [], uses, now_ms, from)).toEqual(remove);
    expect(history.objects.map.has(key)).toBe(false);
  });

  it('goes in two phases: what is found is marked, and removed when it was garbage for a grace', async () => {
    const history = new History(2);
    for (let at = 0; at < 3; at++) await history.run(quiet);
    for (const full of [0, 1]) await history.run({ ...quiet, full });
    const wanted = await question(history, [history.cuts.at(-1)?.ref.hash ?? ''], false);
    const first = collectGarbage(wanted);
    expect(first.remove).toEqual([]);
    expect(first.waiting.map(({ why }) => why)).toContain('only cuts that are not retained hold it');
    expect(collectGarbage({ ...wanted, marks: first.marks, now_ms: 1_999 }).remove).toEqual([]);
    const { remove } = collectGarbage({ ...wanted, marks: first.marks, now_ms: 2_000 });
    expect(remove.map(({ key }) => key).sort()).toEqual(first.waiting.map(({ key }) => key).sort());
    // Manifests go first: a cut whose packs are going must not look whole.
    expect(remove.map(({ key }) => key.includes('/cuts/'))).toEqual([...remove.map(({ key }) => key.includes('/cuts/'))].sort((a, b) => Number(b) - Number(a)));
    // Wanted again in between: it begins anew.
    const all = collectGarbage({ ...wanted, retained: new Set(history.cuts.map(({ ref }) => ref.hash)), marks: first.marks, now_ms: 1_500 });
    expect(all.marks.size).toBe(0);
    expect(collectGarbage({ ...wanted, marks: all.marks, now_ms: 9_000 }).remove).toEqual([]);
  });

  it('is never what may yet be committed, a generation record, or an image that a disk began with', async () => {
    const history = new History(2);
    await history.run(quiet);
    await history.run({ ...quiet, stored: [true, false] });
    const wanted = await question(history, [history.cuts[0]?.ref.hash ?? ''], true);
    expect(collectGarbage(wanted).remove).toEqual([]);
    // After a raise nobody can commit it any more.
    expect(collectGarbage({ ...wanted, generation: 2 }).remove).toMatchObject([{ key: expect.stringContaining('-000000000002-host-a-'), why: 'no cut holds it: its epoch was never committed' }]);
  });

  it('is nothing while what a retained cut needs is not known', async () => {
    const history = new History(2);
    for (let at = 0; at < 3; at++) await history.run(quiet);
    const wanted = await question(history, [history.cuts[2]?.ref.hash ?? ''], true);
    expect(() => collectGarbage({ ...wanted, cuts: wanted.cuts.slice(1) })).toThrow(Unreachable);
    expect(() => collectGarbage({ ...wanted, retained: new Set(['x']) })).toThrow(Unreachable);
  });
});
