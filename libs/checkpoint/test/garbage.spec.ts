import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { collectGarbage, foldCut, readCutFacts, Unreachable } from '../src/index.js';
import type { CutFacts, GarbageQuestion } from '../src/index.js';
import { History, memoryPages } from './history.js';
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
  return {
    objects, cuts, retained: new Set(retained), generation: history.generation, tip: history.cuts.at(-1)?.ref ?? null,
    marks: new Map(marked ? objects.map(({ key }) => [key, 0]) : []), now_ms: 1_000, grace_ms: 1_000,
  };
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
    await fc.assert(fc.asyncProperty(fc.array(epoch, { minLength: 2, maxLength: 12 }), fc.array(fc.nat(11), { maxLength: 3 }), fc.nat(11), async (epochs, chosen, when) => {
      const history = new History(3);
      let retained = new Set<string>();
      const collect = async (): Promise<void> => {
        retained = new Set([...chosen.flatMap((at) => history.cuts[at]?.ref.hash ?? []), ...history.cuts.slice(-1).map(({ ref }) => ref.hash)]
          .filter((hash) => history.cuts.some(({ ref }) => ref.hash === hash && history.objects.map.has(ref.key))));
        const { remove } = collectGarbage(await question(history, retained, true));
        removed += remove.length;
        for (const { key } of remove) history.objects.map.delete(key);
      };
      for (const [at, events] of epochs.entries()) {
        await history.run(events);
        // In the middle of its life too: what is stored and not committed must outlive it.
        if (at === when) await collect();
      }
      await collect();
      for (const hash of retained) await expectFolds(history, hash);
      await history.run(quiet);
      await history.run(quiet);
      if (history.cuts.length > 0) await expectFolds(history, history.cuts.at(-1)?.ref.hash ?? '');
    }), { numRuns: 40 });
    expect(removed).toBeGreaterThan(0);
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

  it('is never what may yet be committed, a generation record, an image or a chunk', async () => {
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
