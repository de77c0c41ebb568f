import { CutBroken, encodeGeneration, encodeManifest, lineage, successors } from '../src/index.js';
import { History } from './history.js';
import { cluster } from './samples.js';

const quiet = { writes: [], stored: [true, true], late: false, full: null, recovery: false } as const;

async function history(recoveries: readonly number[], epochs: number): Promise<History> {
  const result = new History(2);
  for (let at = 0; at < epochs; at++) await result.run({ ...quiet, recovery: recoveries.includes(at) });
  return result;
}

describe('lineage', () => {
  it('is nothing for a cluster that the store does not know', async () => {
    expect(await lineage((await history([], 1)).objects, '00000000-0000-4000-8000-000000000000')).toBeNull();
  });

  it('has no tip before the first cut', async () => {
    expect(await lineage((await history([], 0)).objects, cluster)).toMatchObject({ record: { generation: 1 }, tip: null });
  });

  it('ends at the basis when the new generation has no cut yet', async () => {
    const { objects, cuts } = await history([4], 5);
    expect(await lineage(objects, cluster)).toMatchObject({ record: { generation: 2, basis: cuts[4]?.ref }, tip: cuts[4]?.ref });
  });

  it('takes a void cut of an older generation beyond the basis for nothing', async () => {
    const { objects, cuts } = await history([2], 5);
    const stray = cuts[2]?.manifest as (typeof cuts)[number]['manifest'];
    const late = encodeManifest({ ...stray, epoch: 900, previous: cuts[2]?.ref.hash ?? null, packs: [] });
    objects.map.set(late.key, late.bytes);
    expect((await lineage(objects, cluster))?.tip).toEqual(cuts[4]?.ref);
  });

  it('takes a cut of another incarnation of the same generation for nothing', async () => {
    const { objects, cuts } = await history([], 3);
    const other = encodeManifest({ ...(cuts[2]?.manifest as (typeof cuts)[number]['manifest']), incarnation: 'b'.repeat(32), epoch: 9, packs: [], previous: cuts[2]?.ref.hash ?? null });
    objects.map.set(other.key, other.bytes);
    expect((await lineage(objects, cluster))?.tip).toEqual(cuts[2]?.ref);
  });

  it('ends at the newest cut, also where earlier ones are gone as garbage', async () => {
    const { objects, cuts } = await history([1], 6);
    for (const at of [2, 4]) objects.map.delete(cuts[at]?.ref.key ?? '');
    expect(await lineage(objects, cluster)).toMatchObject({ record: { generation: 2 }, tip: cuts[5]?.ref });
  });

  it('finds a complete cut that no event tells of: it follows the tip', async () => {
    const { objects, cuts } = await history([], 4);
    const record = (await lineage(objects, cluster))?.record as { cluster: string; generation: number; incarnation: string };
    const found = await successors(objects, record, cuts[2]?.ref ?? null);
    expect(found.map(({ ref }) => ref)).toEqual([cuts[3]?.ref]);
    expect(await successors(objects, record, cuts[3]?.ref ?? null)).toEqual([]);
  });

  it('refuses to choose between two cuts after the same one, and between two records of one generation', async () => {
    const { objects, cuts } = await history([], 3);
    const twin = encodeManifest({ ...(cuts[2]?.manifest as (typeof cuts)[number]['manifest']), epoch: 77, packs: [] });
    objects.map.set(twin.key, twin.bytes);
    await expect(lineage(objects, cluster)).rejects.toThrow('both follow');
    objects.map.delete(twin.key);
    const rival = encodeGeneration({ format: 'virtcft/generation/1', cluster, generation: 1, incarnation: 'c'.repeat(32), basis: null, previous: null });
    objects.map.set(rival.key, rival.bytes);
    await expect(lineage(objects, cluster)).rejects.toThrow('another record');
  });

  it('names a damaged record or manifest instead of falling back to an older one', async () => {
    const { objects, cuts } = await history([1], 4);
    for (const key of [cuts[3]?.ref.key, [...objects.map.keys()].filter((each) => each.includes('/generations/')).sort().at(-1)] as string[]) {
      const good = objects.map.get(key) as Buffer;
      const bad = Buffer.from(good);
      bad[40] = (bad[40] as number) ^ 1;
      objects.map.set(key, bad);
      await expect(lineage(objects, cluster)).rejects.toThrow(CutBroken);
      await expect(lineage(objects, cluster)).rejects.toMatchObject({ key });
      objects.map.set(key, good);
    }
  });
});
