import { newestWholeCut, stillDamaged, verifyCut, walkCuts } from '../src/index.js';
import type { CutRef } from '@virtcft/events';
import { History } from './history.js';
import type { EpochEvents } from './history.js';
import { cluster } from './samples.js';

const quiet: EpochEvents = { writes: [], stored: [true, true], late: false, full: null, recovery: false };

async function life(epochs: number, change: (at: number) => Partial<EpochEvents>): Promise<History> {
  const history = new History(3);
  for (let at = 0; at < epochs; at++) await history.run({ ...quiet, writes: [[0, at, at + 1], [1, at + 1, at + 7], [2, 3, at]], ...change(at) });
  return history;
}

const tipOf = (history: History): CutRef => history.cuts.at(-1)!.ref;

/** From the tip backwards, as hashes lead; with what the log would tell where a manifest is damaged. */
async function lineageOf(history: History): Promise<CutRef[]> {
  const cuts: CutRef[] = [];
  for await (const { ref } of walkCuts(history.objects, tipOf(history))) cuts.push(ref);
  return cuts;
}

describe('the newest whole cut (R18)', () => {
  it('is the newest of the lineage that can be restored, whichever object is damaged or gone', async () => {
    const history = await life(9, (at) => ({ stored: at === 2 ? [true, false] : [true, true], recovery: at === 4, full: at === 5 ? 0 : at === 6 ? 1 : at === 7 ? 2 : null }));
    const lineage = await lineageOf(history);
    const before = ({ hash }: { hash: string }) => lineage[lineage.findIndex((cut) => cut.hash === hash) + 1] ?? null;
    const find = (damaged: string) => newestWholeCut(history.objects, cluster, tipOf(history), new Set([damaged]), before);
    const seen = new Set<number>();
    for (const [key, good] of [...history.objects.map]) {
      if (!/\/(cuts|packs|images|chunks)\//.test(key)) continue;
      for (const bad of [null, Buffer.concat([good.subarray(0, good.length - 9), Buffer.from('damaged!!')])]) {
        if (bad === null) history.objects.map.delete(key);
        else history.objects.map.set(key, bad);
        let expected: CutRef | null = null;
        for (const cut of lineage) if (expected === null && (await verifyCut(history.objects, cut)).ok) expected = cut;
        const found = await find(key);
        expect({ key, cut: found.cut?.hash }).toEqual({ key, cut: expected?.hash });
        expect(found.passed).toBe(expected === null ? lineage.length : lineage.indexOf(expected));
        expect(found.damaged === null).toBe(found.passed === 0);
        expect(await stillDamaged(history.objects, key)).toBe(true);
        seen.add(found.passed);
        history.objects.map.set(key, good);
        expect(await stillDamaged(history.objects, key)).toBe(false);
      }
    }
    // None, all, and some in between.
    expect(seen.has(0) && seen.has(lineage.length) && seen.size > 4).toBe(true);
  });

  it('reads no manifest below the oldest damage', async () => {
    const history = await life(12, () => ({}));
    const damaged = history.cuts[10]?.packs[0]?.key ?? '';
    history.objects.reads = 0;
    expect(await newestWholeCut(history.objects, cluster, tipOf(history), new Set([damaged]), () => null)).toMatchObject({ cut: { hash: history.cuts[9]?.ref.hash }, passed: 2, damaged });
    expect(history.objects.reads).toBeLessThan(16);
  });
});
