import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Audit, allCuts, ContentUses, foldCut } from '@virtcft/checkpoint';
import { ClusterSpec, type Report } from '@virtcft/events';
import { openDirectoryStore, type ObjectStore } from '@virtcft/object-store';
import { initialState, type ClusterState } from '@virtcft/protocol';
// eslint-disable-next-line @nx/enforce-module-boundaries -- as the data plane's tests: the history of a cluster as a store sees it
import { History } from '../../../libs/checkpoint/test/history.js';
import { BaseWriter, Collector, type Told } from '../src/index.js';

let folder: string;
let store: ObjectStore;
let history: History;
let told: Report[];
let state: ClusterState;
let uses: ContentUses;
const cluster = (): string => history.cuts[0]?.manifest.cluster ?? '';
const specOf = (every: number) => ClusterSpec.parse({
  apiVersion: 'virtcft/v1', name: 'shop', hosts: ['a'], vms: [{ name: 'db', kernel: '/k', mac: '52:54:00:00:00:01' }], retention: { last: 2 }, bases: { every, bytes_per_s: 1e9, share_percent: 1_000 },
});
const now = (): Told => ({ cluster: cluster(), state, since: '', cuts: history.cuts.map(({ ref }) => ({ ...ref, vms: 2, time: new Date(ref.epoch * 100).toISOString() })) });
const writer = (): BaseWriter => new BaseWriter(store, join(folder, 'bases'), uses, async (_, report) => void told.push(report));
const collect = async (): Promise<number> => (await new Collector(store, join(folder, 'garbage'), async () => undefined, 0, uses).collect(now, 'the test', false)).objects_total;
const keys = async (kind: string): Promise<string[]> => {
  const found: string[] = [];
  for await (const { key } of store.list(`${cluster()}/${kind}`)) found.push(key);
  return found;
};

async function live(epochs: number): Promise<void> {
  for (let at = 0; at < epochs; at++) await history.run({ writes: [[0, at, at + 1], [1, 3, at]], stored: [true, true], late: false, full: null, recovery: false });
  for (const [key, bytes] of history.objects.map) {
    await store.put(key, bytes);
    history.objects.map.delete(key);
  }
  state = { ...state, tip: history.cuts.at(-1)?.ref ?? null };
}

async function expectFolds(at: number): Promise<void> {
  const cut = history.cuts.at(at) as History['cuts'][number];
  const fold = await foldCut(store, cut.ref, join(folder, `fold${at}-${Math.random()}`));
  expect(await fold.digests()).toEqual(cut.digests);
  await fold.close();
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'virtcft-base-writer-'));
  store = await openDirectoryStore({ path: join(folder, 'store') });
  history = new History(2);
  told = [];
  uses = new ContentUses(0);
  state = { ...initialState, stage: 'running', generation: 1, spec: specOf(3) };
  await live(4);
});
afterEach(async () => {
  await store.close();
  await rm(folder, { recursive: true });
});

describe('the writer of bases', () => {
  it('gives every VM a new beginning when its chain is long enough, says so, and the garbage collector removes what was before', async () => {
    const bases = writer();
    expect(await bases.writeIfDue(now)).toHaveLength(2);
    expect(told).toMatchObject([{ type: 'bases.stored', data: { generation: 1, epoch: 4, vms: 2 } }]);
    expect(await bases.writeIfDue(now)).toBeNull();
    await live(2);
    expect(await bases.writeIfDue(now)).toBeNull();
    await live(2);
    bases.stored(cluster(), 1e9);
    expect(await bases.writeIfDue(now)).toHaveLength(2);
    await live(2);
    const before = (await keys('')).length;
    expect(await collect()).toBe(0);
    expect(await collect()).toBeGreaterThan(10);
    expect((await keys('')).length).toBeLessThan(before - 10);
    expect(await keys('cuts')).toHaveLength(2);
    expect(await keys('bases')).toHaveLength(2);
    for (const at of [-1, -2]) await expectFolds(at);
    const audit = new Audit(store, cluster());
    await audit.bases();
    for (const cut of await allCuts(store, cluster(), [])) await audit.cut(cut);
    expect([audit.faults, audit.broken]).toEqual([[], []]);
    await bases.close();
    // It goes on after a restart, with and without what it had folded, behind the bases that are there.
    const again = writer();
    expect(await again.writeIfDue(now)).toBeNull();
    await live(2);
    await rm(join(folder, 'bases'), { recursive: true });
    expect(await again.writeIfDue(now)).toHaveLength(2);
    await again.close();
    await expectFolds(-1);
  });

  it('takes no more than its share of what the cuts stored, and nothing where it is told so', async () => {
    const bases = writer();
    expect(await bases.writeIfDue(now)).toHaveLength(2);
    await live(3);
    expect(await bases.writeIfDue(now)).toBeNull();
    bases.stored(cluster(), 1e9);
    state = { ...state, spec: specOf(0) };
    expect(await bases.writeIfDue(now)).toBeNull();
    await bases.close();
  });

  it('stands still while the cluster recovers, and leaves only chunks when it is ended, which go as garbage', async () => {
    state = { ...state, stage: 'raising' };
    const waiting = writer();
    expect(await waiting.writeIfDue(now)).toBeNull();
    await waiting.close();
    state = { ...state, stage: 'running' };
    const ended = writer();
    const put = store.put.bind(store);
    let closed: Promise<void> | undefined;
    store.put = async (key, body) => {
      const outcome = await put(key, body);
      closed ??= ended.close();
      return outcome;
    };
    await expect(ended.writeIfDue(now)).rejects.toThrow();
    await closed;
    store.put = put;
    expect(await keys('bases')).toEqual([]);
    const chunks = (await keys('chunks')).length;
    await collect();
    expect(await collect()).toBeGreaterThan(0);
    expect((await keys('chunks')).length).toBeLessThan(chunks);
    for (const at of [-1, -2]) await expectFolds(at);
  });
});
