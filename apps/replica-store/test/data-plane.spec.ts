import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { chunkKey, ContentUses, encodeImage, encodePack, encodeSegment, imageKey } from '@virtcft/checkpoint';
import { ReplicaImage } from '@virtcft/native';
import { openDirectoryStore, type ObjectStore } from '@virtcft/object-store';
import type { Decision } from '@virtcft/events';
// The formats' own tests have the history of a cluster as a store sees it; a package of its own for it would be read by nobody else.
// eslint-disable-next-line @nx/enforce-module-boundaries
import { History, memoryPages, rootContent, rootImage, rootObjects, type CommittedCut } from '../../../libs/checkpoint/test/history.js';
// eslint-disable-next-line @nx/enforce-module-boundaries
import { pageSection } from '../../../libs/checkpoint/test/page-section.js';
// eslint-disable-next-line @nx/enforce-module-boundaries
import { noise } from '../../../libs/checkpoint/test/samples.js';
import { DataServer, imageRoutes, packRoutes, RecentPacks, Replicas, restoreRoutes } from '../src/index.js';

const vm = 'vm-0';
let folder: string;
let store: ObjectStore;
let replicas: Replicas;
let server: DataServer;
let base: string;
let history: History;

async function open(path: string): Promise<void> {
  store = await openDirectoryStore({ path });
  const [recent, uses] = [new RecentPacks(), new ContentUses(0)];
  replicas = await Replicas.open(folder, store, recent);
  server = new DataServer([...packRoutes(store, recent, uses), ...imageRoutes(store, uses), ...restoreRoutes(store, replicas)]);
  base = `http://127.0.0.1:${await server.listen('127.0.0.1', 0)}`;
  replicas.caughtUp();
}

/** What the disks of the history begin with. */
async function putImages(): Promise<void> {
  for (const { key, bytes } of rootObjects) expect((await putObject(key, bytes)).ok).toBe(true);
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'virtcft-replica-store-'));
  await open(join(folder, 'store'));
  history = new History(2);
  await putImages();
});
afterEach(async () => {
  await server.close();
  await replicas.close();
  await store.close();
  await rm(folder, { recursive: true });
});

const putObject = (key: string, body: Buffer): Promise<Response> => fetch(`${base}/v1/clusters/${key}`, { method: 'PUT', body: new Uint8Array(body) });
const has = async (key: string): Promise<number> => (await fetch(`${base}/v1/clusters/${key}`, { method: 'HEAD' })).status;
const put = (key: string, body: Buffer): Promise<Response> => fetch(`${base}/v1/packs/${key}`, { method: 'PUT', body: new Uint8Array(body) });

function tell(decision: Decision): void {
  const cluster = history.cuts[0]?.manifest.cluster ?? '';
  replicas.onDecision({ cluster, sequence: 1, id: 'x', time: new Date(0), hash: '', previous: null, decision, trace: {} });
}

/** An epoch's packs go in over HTTP, its manifest into the store, and the commit is told. */
async function commit(write: number, options: { recovery?: boolean } = {}): Promise<CommittedCut> {
  const cut = await history.run({ writes: [[0, write % memoryPages, write + 1], [1, 3, write]], stored: [true, true], late: false, full: null, recovery: options.recovery ?? false });
  if (cut === null) throw new Error('the epoch was to commit');
  for (const pack of cut.packs) expect((await put(pack.key, pack.bytes)).ok).toBe(true);
  await store.put(cut.ref.key, history.objects.map.get(cut.ref.key) as Buffer);
  if (history.cuts.length === 1) tell({ type: 'cluster.created', data: { spec: { vms: [] } } } as unknown as Decision);
  tell({ type: 'epoch.committed', data: { generation: cut.ref.generation, epoch: cut.ref.epoch, cut: cut.ref, previous: cut.manifest.previous } });
  return cut;
}

const get = async (cut: CommittedCut, what: string): Promise<Response> => fetch(`${base}/v1/clusters/${cut.manifest.cluster}/cuts/${cut.ref.hash}/${what}`);

/** Restores a VM's memory (or another stream) as an agent does, and returns its digest. */
async function restore(cut: CommittedCut, what = 'pages', total_bytes = memoryPages * 4096): Promise<string> {
  const body = Buffer.from(await (await get(cut, `vms/${vm}/${what}`)).arrayBuffer());
  const image = new ReplicaImage({ path: join(folder, `restored-${cut.ref.epoch}-${what.replaceAll('/', '-')}`), bytes: total_bytes });
  let at = 0;
  for (let bytes = body.readUInt32LE(at); bytes > 0; bytes = body.readUInt32LE(at)) {
    await image.apply(body.subarray(at + 4, at + 4 + bytes));
    at += 4 + bytes;
  }
  expect(at + 4).toBe(body.length);
  const digest = await image.digest();
  image.close();
  return digest;
}

describe('the data plane', () => {
  it('gives back what was put in: pages, device state, manifest, of the newest cut', async () => {
    for (const write of [1, 2, 3]) await commit(write);
    const cut = history.cuts.at(-1) as CommittedCut;
    expect(await restore(cut)).toBe(cut.digests[vm]);
    const device = await get(cut, `vms/${vm}/device`);
    expect(device.headers.get('x-virtcft-run-state')).toBe('running');
    expect(await device.text()).toBe(cut.device[vm]);
    const manifest = await get(cut, `manifest?generation=${cut.ref.generation}&epoch=${cut.ref.epoch}`);
    expect(Buffer.from(await manifest.arrayBuffer())).toEqual(history.objects.map.get(cut.ref.key));
    const channel = await (await get(cut, 'channel')).json() as { nic: string; frame: string }[];
    expect(channel.map(({ nic, frame }) => ({ nic, frame: Buffer.from(frame, 'base64') }))).toEqual(cut.packs.flatMap((pack) => pack.channel));
  });

  it('gives back the disks, by stream and by the piece', async () => {
    for (const write of [1, 2, 3]) await commit(write);
    const cut = history.cuts.at(-1) as CommittedCut;
    const disks = cut.manifest.vms[vm]?.disks ?? [];
    expect(disks.map(({ name }) => name)).toEqual(['root', 'data']);
    for (const { name, bytes } of disks) expect(await restore(cut, `disks/${name}/blocks`, bytes)).toBe(cut.digests[`${vm}/${name}`]);
    const last = rootContent.length / 4096 - 1;
    const truth = history.guests[0]?.disks[0]?.content as Buffer;
    const image = new ReplicaImage({ path: join(folder, 'pieces'), bytes: truth.length });
    for (const [first, count] of [[0, 300], [300, last - 300], [last, 1]] as const) {
      const piece = await get(cut, `vms/${vm}/disks/root/blocks/${first}/${count}`);
      expect(await image.apply(Buffer.from(await piece.arrayBuffer()))).toEqual({ pages: count });
    }
    expect(await image.digest()).toBe(cut.digests[`${vm}/root`]);
    image.close();
    for (const what of ['blocks', 'blocks/0/1']) {
      expect((await get(cut, `vms/${vm}/disks/nothing/${what}`)).status).toBe(404);
      expect((await get(cut, `vms/vm-1/disks/root/${what}`)).status).toBe(404);
    }
    expect((await get(cut, `vms/${vm}/disks/root/blocks/0/0`)).status).toBe(400);
    // A refused one has left no view open: the fold moves on.
    const next = await commit(4);
    expect(await restore(next)).toBe(next.digests[vm]);
  });

  it('goes back where a raise says, and on from there (R16)', async () => {
    const first = await commit(1);
    await commit(2);
    tell({ type: 'generation.raised', data: { generation: 2, incarnation: 'b'.repeat(32), basis: first.ref, ahead_ms: 0 } });
    expect(await restore(first)).toBe(first.digests[vm]);
  });

  it('a reader that takes nothing does not keep the replica from the basis of a raise (R17)', async () => {
    const first = await commit(1);
    await get(first, 'channel');
    const cluster = first.manifest.cluster;
    // A view that nobody closes is what the stream of a host that died without a word is.
    const view = await replicas.of(cluster).view(first.ref.hash, vm);
    replicas.of(cluster).streaming(() => view.close());
    const second = await commit(2);
    tell({ type: 'generation.raised', data: { generation: 2, incarnation: 'b'.repeat(32), basis: second.ref, ahead_ms: 0 } });
    expect(await restore(second)).toBe(second.digests[vm]);
  });

  it('asks to be tried again while the log is read, and folds again what failed when it is asked for (R18)', async () => {
    const cut = await commit(1);
    await get(cut, 'channel');
    const next = await history.run({ writes: [[0, 1, 9]], stored: [true, true], late: false, full: null, recovery: false }) as CommittedCut;
    for (const pack of next.packs) expect((await put(pack.key, pack.bytes)).ok).toBe(true);
    tell({ type: 'epoch.committed', data: { generation: 1, epoch: next.ref.epoch, cut: next.ref, previous: next.manifest.previous } });
    expect((await get(next, 'channel')).status).toBe(503);
    await store.put(next.ref.key, history.objects.map.get(next.ref.key) as Buffer);
    expect(await restore(next)).toBe(next.digests[vm]);
    const early = await Replicas.open(join(folder, 'other'), store, new RecentPacks());
    expect(() => early.of(cut.manifest.cluster)).toThrow(/try again/);
  });

  it('takes up its images after a restart', async () => {
    await commit(1);
    const cut = await commit(2);
    await get(cut, 'channel');
    await server.close();
    await replicas.close();
    await store.close();
    await open(join(folder, 'store'));
    tell({ type: 'cluster.created', data: { spec: { vms: [] } } } as unknown as Decision);
    tell({ type: 'epoch.committed', data: { generation: 1, epoch: cut.ref.epoch, cut: cut.ref, previous: cut.manifest.previous } });
    expect(await restore(cut)).toBe(cut.digests[vm]);
  });

  it('lists committed cuts, newest first', async () => {
    for (const write of [1, 2, 3]) await commit(write);
    const cluster = history.cuts[0]?.manifest.cluster ?? '';
    expect(replicas.cuts(cluster, 2)?.map(({ epoch }) => epoch)).toEqual(history.cuts.slice(-2).reverse().map(({ ref }) => ref.epoch));
    expect(replicas.cuts('11111111-1111-4111-8111-111111111111', 2)).toBeNull();
  });

  it('takes a pack twice, and never another under its key', async () => {
    const cut = await commit(1);
    const [pack, other] = cut.packs;
    if (pack === undefined || other === undefined) throw new Error('two hosts stored');
    expect((await put(pack.key, pack.bytes)).status).toBe(200);
    expect((await put(pack.key, other.bytes)).status).toBe(400);
  });

  it('refuses a damaged pack, whichever byte is wrong, and keeps nothing of it (I4)', async () => {
    const cut = await history.run({ writes: [[0, 1, 9]], stored: [true, true], late: false, full: null, recovery: false });
    const pack = cut?.packs[0];
    if (pack === undefined) throw new Error('a pack was stored');
    for (let at = 0; at < pack.bytes.length; at += Math.ceil(pack.bytes.length / 40)) {
      const damaged = Buffer.from(pack.bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 0x10;
      expect((await put(pack.key, damaged)).status).toBe(400);
    }
    expect(await store.stat(pack.key)).toBeNull();
  });

  it('refuses a pack whose disks begin with an image that is not stored, or of another size, or that has bad sections (R18)', async () => {
    const cut = await history.run({ writes: [], stored: [true, true], late: false, full: null, recovery: false });
    const pack = cut?.packs[0];
    if (pack === undefined) throw new Error('a pack was stored');
    const [root] = rootObjects.slice(-1);
    if (root === undefined) throw new Error('the image comes last');
    await store.remove(root.key);
    const refused = await put(pack.key, pack.bytes);
    expect(refused.status).toBe(409);
    expect(await refused.text()).toContain(rootImage.hash);
    expect(await store.stat(pack.key)).toBeNull();
    expect((await putObject(root.key, root.bytes)).status).toBe(201);
    expect((await put(pack.key, pack.bytes)).status).toBe(201);
    const other = encodeImage({ bytes: 4096, chunks: [null] });
    await putObject(imageKey({ cluster: pack.cluster, hash: other.hash }), other.bytes);
    const [segment] = pack.segments;
    if (segment === undefined) throw new Error('it holds vm-0');
    const device = await segment.device();
    const wrong = async (change: object, disks: readonly Buffer[]): Promise<number> => {
      const forged = encodePack({ ...pack, segments: [await encodeSegment({ ...segment.header, ...change }, { pages: segment.pages, device, disks })] });
      return (await put(forged.key, forged.bytes)).status;
    };
    const [first, second] = segment.header.disks as [typeof segment.header.disks[number], typeof segment.header.disks[number]];
    expect(await wrong({}, segment.disks)).toBe(200);
    expect(await wrong({ disks: [{ ...first, image: other.hash }, second] }, segment.disks)).toBe(400);
    expect(await wrong({}, [Buffer.from('no section'), segment.disks[1] as Buffer])).toBe(400);
    expect(await wrong({}, segment.disks.toReversed())).toBe(400);
    expect(await wrong({ memory_bytes: 4096 }, segment.disks)).toBe(400);
  });

  it('takes a pack whose pages lie in others only where they are, whole and raw, and restores them (R18)', async () => {
    history = new History(2, 4);
    const write = (page: number, value: number, on: number) => history.run({ writes: [[on, page, value]], stored: [true, true], late: false, full: null, recovery: false });
    const first = await write(2, 3, 1) as CommittedCut;
    const second = await write(5, 3, 0) as CommittedCut;
    const referring = second.packs.find(({ references }) => references.length > 0);
    const [reference] = referring?.references ?? [];
    if (referring === undefined || reference === undefined) throw new Error('the second VM wrote the page of the first');
    const refused = await put(referring.key, referring.bytes);
    expect(refused.status).toBe(409);
    expect(await refused.text()).toContain(reference.pack);
    expect(await store.stat(referring.key)).toBeNull();
    for (const { packs, ref, manifest } of [first, second]) {
      for (const pack of packs) expect((await put(pack.key, pack.bytes)).status).toBe(201);
      await store.put(ref.key, history.objects.map.get(ref.key) as Buffer);
      if (ref === first.ref) tell({ type: 'cluster.created', data: { spec: { vms: [] } } } as unknown as Decision);
      tell({ type: 'epoch.committed', data: { generation: 1, epoch: ref.epoch, cut: ref, previous: manifest.previous } });
    }
    expect(await restore(second)).toBe(second.digests[vm]);
    // A pack that says where they lie, and is wrong; of a page that is not raw there.
    const hash = createHash('sha256').update(noise('3', 4096)).digest('hex');
    const forged = async (change: object, page = 2, told = hash): Promise<number> => {
      const segment = referring.segments[0] as (typeof referring.segments)[number];
      const { cluster, generation, incarnation, epoch, host } = referring;
      const section = pageSection(memoryPages, false, [{ page: 5, kind: 'reference', bytes: null, at: { segment: reference.segment, page, hash: told } }], 4);
      const made = await encodeSegment({ ...segment.header, disks: [] }, { pages: section, device: await segment.device() });
      const pack = encodePack({ cluster, generation, incarnation, epoch, host, segments: [made], channel: [], down: [], references: [{ ...reference, ...change }] });
      return (await put(pack.key, pack.bytes)).status;
    };
    expect(await forged({})).toBe(201);
    expect(await forged({}, 3)).toBe(400);
    expect(await forged({}, 2, 'ab'.repeat(32))).toBe(400);
    expect(await forged({ pack: reference.pack.replace(/.$/, (last) => (last === '0' ? '1' : '0')) })).toBe(409);
  });

  it('refuses a pack whose memory begins with an image that is not stored, or of another size, or that its section is no change to (R18, R20)', async () => {
    const cut = await history.run({ writes: [], stored: [true, true], late: false, full: null, recovery: false });
    const pack = cut?.packs[0];
    const segment = pack?.segments[0];
    if (pack === undefined || segment === undefined) throw new Error('a pack with a segment was stored');
    const device = await segment.device();
    const { memory_bytes } = segment.header;
    const seeded = async (image: string, full: boolean): Promise<number> => {
      const header = { ...segment.header, kind: 'full' as const, parent: null, disks: [], image };
      const forged = encodePack({ ...pack, segments: [await encodeSegment(header, { pages: pageSection(memory_bytes / 4096, full, []), device })] });
      return (await put(forged.key, forged.bytes)).status;
    };
    const image = encodeImage({ bytes: memory_bytes, chunks: [null] });
    const other = encodeImage({ bytes: memory_bytes + 4096, chunks: [null] });
    expect(await seeded(image.hash, false)).toBe(409);
    for (const each of [image, other]) await putObject(imageKey({ cluster: pack.cluster, hash: each.hash }), each.bytes);
    expect(await seeded(image.hash, false)).toBe(201);
    expect(await seeded(image.hash, true)).toBe(400);
    expect(await seeded(other.hash, false)).toBe(400);
    tell({ type: 'cluster.created', data: { spec: { vms: [] } } } as unknown as Decision);
    // Fetched ahead for restores: begun when it is asked for, told when it is done.
    const ready = async (): Promise<number> => (await fetch(`${base}/v1/clusters/${pack.cluster}/images/${image.hash}/ready`, { method: 'PUT' })).status;
    expect(await ready()).toBe(202);
    while (await ready() !== 200) await new Promise((resolve) => setTimeout(resolve, 10));
  });

  it('says what is wrong with a request', async () => {
    expect((await fetch(`${base}/v1/nothing`)).status).toBe(404);
    expect((await put('not-a-key', Buffer.alloc(4))).status).toBe(400);
    const cut = await commit(1);
    expect((await get(cut, 'vms/nobody/device')).status).toBe(404);
    expect((await get(cut, `vms/${vm}/pages/0/0`)).status).toBe(400);
    expect((await get({ ...cut, ref: { ...cut.ref, hash: 'f'.repeat(64) } }, 'channel')).status).toBe(503);
  });

  it('takes chunks and images once, and only what their hashes name', async () => {
    const cluster = '5b1c0f4e-1c7d-4f55-9d0e-6a1f2f7f9a10';
    const [chunk] = rootObjects as [typeof rootObjects[number]];
    const hash = chunk.key.slice(-64);
    const key = chunkKey({ cluster, hash });
    expect(await has(key)).toBe(404);
    for (let at = 0; at < chunk.bytes.length; at += Math.ceil(chunk.bytes.length / 30)) {
      const bad = Buffer.from(chunk.bytes);
      bad[at] = (bad[at] ?? 0) ^ 0x04;
      expect((await putObject(key, bad)).status).toBe(400);
    }
    expect((await putObject(chunkKey({ cluster, hash: 'a'.repeat(64) }), chunk.bytes)).status).toBe(400);
    expect(await has(key)).toBe(404);
    const image = encodeImage({ bytes: 2 * 1024 * 1024, chunks: [null, hash] });
    const early = await putObject(imageKey({ cluster, hash: image.hash }), image.bytes);
    expect(early.status).toBe(409);
    expect(await early.text()).toContain(hash);
    expect(await has(imageKey({ cluster, hash: image.hash }))).toBe(404);
    expect((await putObject(key, chunk.bytes)).status).toBe(201);
    expect((await putObject(key, chunk.bytes)).status).toBe(200);
    // Another compressor gives other bytes for the same chunk: what is there stays.
    const again = zstdCompressSync(zstdDecompressSync(chunk.bytes), { params: { [constants.ZSTD_c_compressionLevel]: 9, [constants.ZSTD_c_checksumFlag]: 1 } });
    expect(again.equals(chunk.bytes)).toBe(false);
    expect((await putObject(key, again)).status).toBe(200);
    expect((await store.get(key)).equals(chunk.bytes)).toBe(true);
    expect(await has(key)).toBe(200);
    expect((await putObject(imageKey({ cluster, hash: image.hash }), Buffer.concat([image.bytes, Buffer.from(' ')]))).status).toBe(400);
    expect((await putObject(imageKey({ cluster, hash: image.hash }), image.bytes)).status).toBe(201);
    expect((await putObject(imageKey({ cluster, hash: image.hash }), image.bytes)).status).toBe(200);
    expect(await has(imageKey({ cluster, hash: image.hash }))).toBe(200);
    expect((await putObject(`${'-'.repeat(36)}/chunks/${hash}`, chunk.bytes)).status).toBe(400);
    // Another cluster has none of it.
    expect(await has(imageKey({ cluster: 'a'.repeat(8) + cluster.slice(8), hash: image.hash }))).toBe(404);
  });

  it('answers 503 while the disk of the store is full, and takes the pack when there is room again (R24)', async () => {
    const cut = await history.run({ writes: [[0, 1, 9]], stored: [true, true], late: false, full: null, recovery: false });
    const pack = cut?.packs[0];
    if (pack === undefined) throw new Error('a pack was stored');
    const small = await mkdtemp(join(tmpdir(), 'virtcft-full-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', small]);
    try {
      await server.close();
      await replicas.close();
      await open(join(small, 'store'));
      await putImages();
      execFileSync('dd', ['if=/dev/zero', `of=${small}/filler`, 'bs=4k', 'count=64'], { stdio: 'ignore' , timeout: 10_000 });
    } catch (error) {
      // dd fails with "no space left", which is what it is there for.
      if ((error as { status?: number }).status !== 1) throw error;
    }
    const refused = await put(pack.key, pack.bytes);
    expect(refused.status).toBe(503);
    expect(await refused.text()).toMatch(/full|space/i);
    await rm(join(small, 'filler'));
    expect((await put(pack.key, pack.bytes)).status).toBe(201);
    await store.close();
    execFileSync('umount', [small]);
    await rm(small, { recursive: true });
  });
});
