import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { allCuts, Audit, foldCut } from '@virtcft/checkpoint';
import { ClusterSpec, type Report } from '@virtcft/events';
import { openDirectoryStore, openS3Store, type ObjectStore } from '@virtcft/object-store';
import { initialState, type ClusterState } from '@virtcft/protocol';
// eslint-disable-next-line @nx/enforce-module-boundaries -- as the data plane's tests: the history of a cluster as a store sees it
import { History } from '../../../libs/checkpoint/test/history.js';
import { startS3Server, type S3Server } from '../../../libs/object-store/test/s3-server.js';
import { Collector, type Told } from '../src/index.js';

let folder: string;
let store: ObjectStore;
let history: History;
let told: Report[];
let state: ClusterState;
const cluster = (): string => history.cuts[0]?.manifest.cluster ?? '';
const specOf = (retention?: { last: number }) => ClusterSpec.parse({ apiVersion: 'virtcft/v1', name: 'shop', hosts: ['a'], vms: [{ name: 'db', kernel: '/k', mac: '52:54:00:00:00:01' }], ...(retention ? { retention } : {}) });
const now = (): Told => ({ cluster: cluster(), state, since: '', cuts: history.cuts.map(({ ref }) => ({ ...ref, vms: 2, time: new Date(ref.epoch * 100).toISOString() })) });
const collector = (grace_ms = 0): Collector => new Collector(store, join(folder, 'garbage'), async (_, report) => void told.push(report), grace_ms);
const keys = async (): Promise<string[]> => {
  const found: string[] = [];
  for await (const { key } of store.list(`${cluster()}/`)) found.push(key);
  return found;
};

async function live(epochs: number, full: number | null = null): Promise<void> {
  for (let at = 0; at < epochs; at++) await history.run({ writes: [[0, at, at + 1], [1, 3, at]], stored: [true, true], late: false, full: at === 0 ? full : null, recovery: false });
  for (const [key, bytes] of history.objects.map) await store.put(key, bytes);
  state = { ...state, tip: history.cuts.at(-1)?.ref ?? null };
}

async function expectFolds(at: number): Promise<void> {
  const cut = history.cuts.at(at) as History['cuts'][number];
  const fold = await foldCut(store, cut.ref, join(folder, `fold${at}`));
  expect(await fold.digests()).toEqual(cut.digests);
  await fold.close();
}

let server: S3Server;
beforeAll(async () => { server = await startS3Server(); }, 60_000);
afterAll(async () => { await server.stop(); });

const opens: Record<'a folder' | 'MinIO', () => Promise<ObjectStore>> = {
  'a folder': () => openDirectoryStore({ path: join(folder, 'store') }),
  MinIO: () => openS3Store({ endPoint: server.endPoint, port: server.port, useSSL: false, accessKey: server.accessKey, secretKey: server.secretKey, bucket: 'garbage', prefix: basename(folder).replaceAll('-', '') }),
};

describe.each(['a folder', 'MinIO'] as const)('the collector on %s', (kind) => {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'virtcft-collector-'));
    store = await opens[kind]();
    history = new History(2);
    told = [];
    state = { ...initialState, stage: 'running', generation: 1, spec: specOf({ last: 2 }) };
    await live(3);
  });
  afterEach(async () => {
    await store.close();
    await rm(folder, { recursive: true });
  });

  it('removes what no retained cut needs, once it was garbage at two looks, and says so', async () => {
    await live(1, 0);
    await live(3, 1);
    const first = await collector().collect(now, 'the test', false);
    expect(first).toMatchObject({ objects_total: 0, retained: 2, cuts: 7 });
    expect(first.waiting_total).toBeGreaterThan(0);
    // Marks outlive the process; a dry run shows what the next one does.
    const dry = await collector().collect(now, 'the test', true);
    expect(dry).toMatchObject({ dry_run: true, objects_total: first.waiting_total });
    const before = await keys();
    const done = await collector().collect(now, 'the test', false);
    const gone = before.filter((key) => !done.objects.some((object) => object.key === key));
    expect(await keys()).toEqual(gone);
    expect(told).toMatchObject([{ type: 'objects.removed', data: { by: 'the test', objects: first.waiting_total, bytes: done.bytes } }]);
    for (const at of [-1, -2]) await expectFolds(at);
    // What was let go is not looked for, also after a restart; what came after is.
    const expected = await collector().expected(cluster(), history.cuts.map(({ ref }) => ref));
    expect(expected.map(({ key }) => key)).toEqual(history.cuts.map(({ ref }) => ref.key).filter((key) => gone.includes(key)));
    const audit = new Audit(store, cluster(), { partial: (key) => !expected.slice(-2).some((cut) => cut.key === key) });
    for (const cut of await allCuts(store, cluster(), expected)) await audit.cut(cut);
    expect(audit.faults).toEqual([]);
  });

  it('removes nothing of one chain, within the grace, or without a retention', async () => {
    const all = await keys();
    for (let look = 0; look < 3; look++) expect(await collector().collect(now, 'the test', false)).toMatchObject({ objects_total: 0, waiting_total: 0 });
    await live(1, 0);
    await live(3, 1);
    for (let look = 0; look < 3; look++) expect(await collector(60_000).collect(now, 'the test', false)).toMatchObject({ objects_total: 0 });
    state = { ...state, spec: specOf() };
    for (let look = 0; look < 3; look++) expect(await collector().collect(now, 'the test', false)).toMatchObject({ objects_total: 0, waiting_total: 0, retained: 7 });
    expect((await keys()).length).toBeGreaterThan(all.length);
    expect(told).toEqual([]);
  });

  it('leaves the store alone during a restore, also when it begins while garbage is being removed (R23)', async () => {
    await live(1, 0);
    await live(3, 1);
    await collector().collect(now, 'the test', false);
    const calm = state;
    state = { ...calm, stage: 'raising' };
    await expect(collector().collect(now, 'the test', false)).rejects.toMatchObject({ code: 'not-now' });
    state = calm;
    const remove = store.remove.bind(store);
    store.remove = async (key) => {
      state = { ...calm, stage: 'raising' };
      await remove(key);
    };
    expect(await collector().collect(now, 'the test', false)).toMatchObject({ objects_total: 1 });
    state = calm;
    for (const at of [-1, -2]) await expectFolds(at);
    // What was begun is finished: packs whose manifest is gone are still known as garbage.
    store.remove = remove;
    expect((await collector().collect(now, 'the test', false)).objects_total).toBeGreaterThan(3);
    for (const at of [-1, -2]) await expectFolds(at);
  });

  it('removes nothing while a manifest cannot be read, and says what to do', async () => {
    await store.remove(history.cuts[1]?.ref.key ?? '');
    await expect(collector().collect(now, 'the test', false)).rejects.toMatchObject({ code: 'conflict', next: expect.stringContaining('verify --all') });
  });
});
