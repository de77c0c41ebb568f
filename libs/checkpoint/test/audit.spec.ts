import fc from 'fast-check';
import { allCuts, Audit, cutsBehind, encodeDefinition, stillDamaged } from '../src/index.js';
import type { CutRef } from '@virtcft/events';
import { History } from './history.js';
import type { EpochEvents } from './history.js';
import { cluster, definition } from './samples.js';

const quiet: EpochEvents = { writes: [], stored: [true, true], late: false, full: null, recovery: false };

async function life(epochs: number, change: (at: number) => Partial<EpochEvents> = () => ({})): Promise<History> {
  const history = new History(3);
  for (let at = 0; at < epochs; at++) await history.run({ ...quiet, writes: [[0, at, at + 1], [1, at + 1, at + 7], [2, 3, at]], ...change(at) });
  return history;
}

async function auditAll({ objects }: History, known: readonly CutRef[] = []): Promise<Audit> {
  const audit = new Audit(objects, cluster);
  await audit.generations();
  for (const cut of await allCuts(objects, cluster, known)) await audit.cut(cut);
  return audit;
}

describe('an audit', () => {
  it('finds nothing wrong in a sound store, and reads each object once', async () => {
    const history = await life(8, (at) => ({ stored: at === 3 ? [true, false] : [true, true], recovery: at === 4, full: at === 6 ? 1 : null }));
    history.objects.reads = 0;
    const audit = await auditAll(history);
    expect(audit.faults).toEqual([]);
    expect(audit.broken).toEqual([]);
    expect(audit.cuts).toBe(history.cuts.length);
    // The pack of an epoch that the loss of a host left uncommitted belongs to no cut.
    const named = history.objects.map.size - [...history.objects.map.keys()].filter((key) => key.includes('/packs/') && !history.cuts.some(({ packs }) => packs.some((pack) => pack.key === key))).length;
    expect(history.objects.reads).toBe(named);
    expect(audit.objects).toBe(named);
  });

  it('names a damaged definition', async () => {
    const history = await life(2);
    const { key, bytes } = encodeDefinition(definition());
    history.objects.map.set(key, bytes);
    expect((await auditAll(history)).faults).toEqual([]);
    history.objects.map.set(key, Buffer.from(bytes.toString().replace('"interval_ms":100', '"interval_ms":101')));
    expect((await auditAll(history)).faults).toMatchObject([{ key, part: 'definition' }]);
    expect(await stillDamaged(history.objects, key)).toBe(true);
  });

  it('names every changed, cut short or missing object, by key and part, and the cuts that cannot be restored', async () => {
    const history = await life(6, (at) => ({ stored: at === 2 ? [true, false] : [true, true], recovery: at === 4 }));
    const good = new Map(history.objects.map);
    const known = history.cuts.map(({ ref }) => ref);
    const needed = [...good.keys()].filter((key) => !key.includes('/packs/') || history.cuts.some(({ packs }) => packs.some((pack) => pack.key === key)));
    await fc.assert(fc.asyncProperty(fc.constantFrom(...needed), fc.nat(), fc.constantFrom('flip', 'cut', 'gone'), async (key, at, damage) => {
      const bytes = good.get(key) as Buffer;
      const bad = Buffer.from(bytes);
      bad[(at >> 3) % bad.length] = (bad[(at >> 3) % bad.length] as number) ^ (1 << (at & 7));
      if (damage === 'gone') history.objects.map.delete(key);
      else history.objects.map.set(key, damage === 'flip' ? bad : bytes.subarray(0, at % bytes.length));
      const audit = await auditAll(history, known);
      history.objects.map.set(key, bytes);
      expect(audit.faults.map((fault) => fault.key)).toEqual([key]);
      expect(audit.faults[0]?.part).not.toBe('');
      if (damage === 'gone') expect(audit.faults[0]?.part).toBe('object');
      const at_cut = history.cuts.findIndex(({ ref, packs }) => ref.key === key || packs.some((pack) => pack.key === key));
      // One that is damaged, and all after it, as all chains here begin at the first.
      if (at_cut >= 0) expect(audit.broken[0]?.key).toBe(history.cuts[at_cut]?.ref.key);
      if (key.includes('/cuts/')) expect(audit.broken).toHaveLength(history.cuts.length - at_cut);
    }), { numRuns: 80 });
  });

  it('of one cut looks at what it needs, and at nothing before its chains begin', async () => {
    const history = await life(5, (at) => ({ full: at === 2 ? 0 : null }));
    const tip = history.cuts.at(-1)?.ref as CutRef;
    expect((await cutsBehind(history.objects, tip)).map(({ key }) => key)).toEqual(history.cuts.map(({ ref }) => ref.key));
    const anew = await life(1);
    const [first] = anew.cuts;
    expect(await cutsBehind(anew.objects, first?.ref as CutRef)).toHaveLength(1);
    history.objects.map.delete(history.cuts[1]?.ref.key ?? '');
    const audit = new Audit(history.objects, cluster);
    for (const cut of await cutsBehind(history.objects, tip)) await audit.cut(cut);
    expect(audit.faults).toMatchObject([{ key: history.cuts[2]?.ref.key, part: 'chain' }]);
    expect(audit.broken.at(-1)?.key).toBe(tip.key);
  });

  it('goes on behind a cut that an earlier one came to', async () => {
    const history = await life(5, (at) => ({ recovery: at === 3 }));
    const audit = new Audit(history.objects, cluster);
    await audit.resume(history.cuts[2]?.ref as CutRef);
    for (const { ref } of history.cuts.slice(3)) expect(await audit.cut(ref)).toBe(true);
    expect(audit.faults).toEqual([]);
    // A generation may begin before that.
    const rewound = await life(5, (at) => ({ recovery: at === 1 }));
    const later = new Audit(rewound.objects, cluster);
    await later.generations();
    await later.resume(rewound.cuts[0]?.ref as CutRef);
    for (const { ref } of rewound.cuts.slice(2)) expect(await later.cut(ref)).toBe(true);
  });

  it('takes what was removed as garbage meanwhile for no fault', async () => {
    const history = await life(2);
    const gone = history.cuts[1];
    for (const key of [gone?.ref.key ?? '', gone?.packs[0]?.key ?? '']) {
      history.objects.map.delete(key);
      const audit = new Audit(history.objects, cluster, { removed: (each) => each === gone?.ref.key });
      for (const { ref } of history.cuts) await audit.cut(ref);
      expect([audit.faults, audit.broken]).toEqual([[], []]);
    }
  });

  it('throws trouble with the store, and ends when its caller says so', async () => {
    const history = await life(2);
    const enough = new Error('enough');
    const audit = new Audit(history.objects, cluster, { visited: () => { throw enough; } });
    await expect(audit.cut(history.cuts[0]?.ref as CutRef)).rejects.toBe(enough);
    history.objects.get = () => Promise.reject(Object.assign(new Error('cut off'), { code: 'STORE_UNAVAILABLE' }));
    await expect(auditAll(history)).rejects.toThrow('cut off');
  });
});
