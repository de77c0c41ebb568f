import { createHash } from 'node:crypto';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chunkBytes, ContentUses, encodeImage, parseImage, storedImages } from '@virtcft/checkpoint';
import { openDirectoryStore, type ObjectStore } from '@virtcft/object-store';
import type { Decision } from '@virtcft/events';
import type { PageSource } from '@virtcft/hypervisor';
import { ReplicaImage } from '@virtcft/native';
import { DataServer, imageRoutes, RecentPacks, Replicas, restoreRoutes } from '@virtcft/replica-store';
// The formats' own tests have the history of a cluster as a store sees it; a package of its own for it would be read by nobody else.
// eslint-disable-next-line @nx/enforce-module-boundaries
import { History, memoryPages } from '../../../libs/checkpoint/test/history.js';
import { ReplicaClient, ReplicaStoreRefused } from '../src/recovery/replica-client.js';

const cluster = '2f0c4b1e-6a52-4a55-9d3e-0c5b8f1c7a11';
const never = new AbortController().signal;
let folder: string;
let store: ObjectStore;
let server: DataServer;
let port: number;
let client: ReplicaClient;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'virtcft-upload-'));
  store = await openDirectoryStore({ path: join(folder, 'store') });
  server = new DataServer(imageRoutes(store, new ContentUses(0)));
  port = await server.listen('127.0.0.1', 0);
  client = new ReplicaClient(`http://127.0.0.1:${port}`);
});
afterEach(async () => {
  client.close();
  await server.close();
  await store.close();
  await rm(folder, { recursive: true });
});

const kinds: readonly ((at: number) => Buffer)[] = [(at) => createHash('sha512').update(`${at}`).digest(), () => Buffer.alloc(1), () => Buffer.from('same')];
/** A raw file: chunks of one-off data, zeros and repeated data in turn, and a short end. */
async function rawFile(chunks: number, end_bytes: number): Promise<{ path: string; content: Buffer }> {
  const parts = Array.from({ length: chunks }, (_, at) => Buffer.alloc(chunkBytes, kinds[at % kinds.length]?.(at)));
  const content = Buffer.concat([...parts, Buffer.alloc(end_bytes, 'end')]);
  const path = join(folder, 'disk.raw');
  await writeFile(path, content);
  return { path, content };
}

async function objects(): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(`${cluster}/`)) keys.push(key);
  return keys;
}

describe('a restore', () => {
  it('reads the memory and the disks of a cut, all of it and by the piece', async () => {
    const history = new History(1);
    const cut = await history.run({ writes: [[0, 2, 5], [0, 3, 8]], stored: [true, true], late: false, full: null, recovery: false });
    if (cut === null) throw new Error('the epoch was to commit');
    for (const [key, bytes] of history.objects.map) await store.put(key, bytes);
    const replicas = await Replicas.open(join(folder, 'data'), store, new RecentPacks());
    await server.close();
    server = new DataServer(restoreRoutes(store, replicas));
    const reader = new ReplicaClient(`http://127.0.0.1:${await server.listen('127.0.0.1', 0)}`);
    const tell = (decision: unknown): void => replicas.onDecision({ cluster: cut.manifest.cluster, sequence: 1, id: 'x', time: new Date(0), hash: '', previous: null, decision: decision as Decision, trace: {} });
    tell({ type: 'cluster.created', data: { spec: { vms: [] } } });
    tell({ type: 'epoch.committed', data: { generation: 1, epoch: 1, cut: cut.ref, previous: null } });
    replicas.caughtUp();
    const digestOf = async (source: PageSource, bytes: number): Promise<string> => {
      const image = new ReplicaImage({ path: join(folder, 'restored'), bytes });
      for await (const section of source.all(never)) await image.apply(section);
      const digest = await image.digest();
      expect(await image.apply(await source.pages(0, 2))).toEqual({ pages: 2 });
      expect(await image.digest()).toBe(digest);
      image.close();
      await rm(join(folder, 'restored'));
      return digest;
    };
    const { cluster: of } = cut.manifest;
    expect(await digestOf(reader.pages(of, cut.ref, 'vm-0'), memoryPages * 4096)).toBe(cut.digests['vm-0']);
    const disks = cut.manifest.vms['vm-0']?.disks ?? [];
    expect(disks).toHaveLength(2);
    for (const { name, bytes } of disks) expect(await digestOf(reader.blocks(of, cut.ref, 'vm-0', name), bytes)).toBe(cut.digests[`vm-0/${name}`]);
    reader.close();
    await replicas.close();
  });
});

describe('an upload of a base image', () => {
  it('stores what the file holds, equal chunks once and zeros not at all, and tells how far it is', async () => {
    const { path, content } = await rawFile(9, 8192);
    const told: number[] = [];
    const hash = await client.uploadImage(cluster, path, content.length, { signal: never, onProgress: (done_bytes) => told.push(done_bytes) });
    expect(told).toHaveLength(10);
    expect(told).toEqual([...told].sort((a, b) => a - b));
    expect(told.at(-1)).toBe(content.length);
    expect((await objects()).filter((key) => key.includes('/chunks/'))).toHaveLength(3 + 1 + 1);
    expect(await client.hasImage(cluster, hash, never)).toBe(true);
    const copy = join(folder, 'copy.raw');
    await storedImages(store, cluster).materialise(hash, content.length, copy);
    expect((await readFile(copy)).equals(content)).toBe(true);
  });

  it('sends again nothing that is stored, and one of another disk only what differs', async () => {
    const { path, content } = await rawFile(6, 4096);
    const first = await client.uploadImage(cluster, path, content.length, { signal: never });
    const puts = spyOnPuts();
    expect(await client.uploadImage(cluster, path, content.length, { signal: never })).toBe(first);
    expect(puts).toEqual([]);
    const file = await open(path, 'r+');
    await file.write(Buffer.from('changed'), 0, 7, 2 * chunkBytes + 5);
    await file.close();
    expect(await client.uploadImage(cluster, path, content.length, { signal: never })).not.toBe(first);
    expect(puts).toHaveLength(1);
  });

  it('puts again what it had found there and is gone when the image names it', async () => {
    const { path, content } = await rawFile(6, 4096);
    const first = await client.uploadImage(cluster, path, content.length, { signal: never });
    await store.remove(`${cluster}/images/${first}`);
    const putImage = client.putImage.bind(client);
    let images = 0;
    client.putImage = async (...of) => {
      if (images++ === 0) for (const key of (await objects()).filter((each) => each.includes('/chunks/')).slice(0, 2)) await store.remove(key);
      await putImage(...of);
    };
    expect(await client.uploadImage(cluster, path, content.length, { signal: never })).toBe(first);
    expect(images).toBe(2);
    const { chunks } = parseImage(await store.get(`${cluster}/images/${first}`), first);
    for (const hash of chunks) if (hash !== null) expect(await store.stat(`${cluster}/chunks/${hash}`)).not.toBeNull();
  });

  it('of an empty disk is an image without chunks', async () => {
    const path = join(folder, 'empty.raw');
    const file = await open(path, 'w');
    await file.truncate(3 * chunkBytes + 4096);
    await file.close();
    const hash = await client.uploadImage(cluster, path, 3 * chunkBytes + 4096, { signal: never });
    expect(hash).toBe(encodeImage({ bytes: 3 * chunkBytes + 4096, chunks: [null, null, null, null] }).hash);
    expect(await objects()).toEqual([`${cluster}/images/${hash}`]);
  });

  it('waits for a store that is away, loses answers or comes and goes, and ends as if nothing had been', async () => {
    const { path, content } = await rawFile(6, 4096);
    let asked = 0;
    // Every third request is answered by nobody, every fifth by a store that is full.
    const troubled = await between((request, response, pass) => {
      asked++;
      if (asked % 3 === 0) request.socket.destroy();
      else if (asked % 5 === 0) response.writeHead(503).end('full');
      else pass();
    });
    const patient = new ReplicaClient(`http://127.0.0.1:${troubled.port}`);
    try {
      const hash = await patient.uploadImage(cluster, path, content.length, { signal: never });
      expect(asked).toBeGreaterThan(8);
      const copy = join(folder, 'copy.raw');
      await storedImages(store, cluster).materialise(hash, content.length, copy);
      expect((await readFile(copy)).equals(content)).toBe(true);
    } finally {
      patient.close();
      await troubled.close();
    }
  });

  it('ends with the signal, also while the store is away, and leaves no image', async () => {
    const { path, content } = await rawFile(3, 4096);
    await server.close();
    const giveUp = new AbortController();
    const uploading = client.uploadImage(cluster, path, content.length, { signal: giveUp.signal });
    setTimeout(() => giveUp.abort(new Error('enough')), 100);
    await expect(uploading).rejects.toThrow('enough');
    await expect(client.uploadImage(cluster, path, content.length, { signal: giveUp.signal })).rejects.toThrow('enough');
    server = new DataServer([]);
    await server.listen('127.0.0.1', 0);
    expect((await objects()).filter((key) => key.includes('/images/'))).toEqual([]);
  });

  it('is not begun with a file of another size, and a store that says no is not asked again', async () => {
    const { path, content } = await rawFile(1, 4096);
    await expect(client.uploadImage(cluster, path, content.length + 4096, { signal: never })).rejects.toThrow('are expected');
    await expect(client.uploadImage('-'.repeat(36), path, content.length, { signal: never })).rejects.toThrow(ReplicaStoreRefused);
  });

  it('names a chunk that is missing when an image is put too early', async () => {
    const missing = 'ab'.repeat(32);
    const { hash, bytes } = encodeImage({ bytes: 4096, chunks: [missing] });
    expect(await client.hasChunk(cluster, missing, never)).toBe(false);
    await expect(client.putImage(cluster, hash, bytes, never)).rejects.toThrow(missing);
    expect(await client.hasImage(cluster, hash, never)).toBe(false);
  });
});

/** Keys of the chunks that are put from now on. */
function spyOnPuts(): string[] {
  const puts: string[] = [];
  const put = client.putChunk.bind(client);
  client.putChunk = (of, hash, ...rest) => {
    puts.push(hash);
    return put(of, hash, ...rest);
  };
  return puts;
}

/** A server in front of the store that may do something else with a request than pass it on. */
async function between(decide: (request: Parameters<RequestListener>[0], response: Parameters<RequestListener>[1], pass: () => void) => void): Promise<{ port: number; close(): Promise<void> }> {
  const front: Server = createServer((request, response) => decide(request, response, () => {
    void (async () => {
      const parts: Buffer[] = [];
      for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
      const body = Buffer.concat(parts);
      const answer = await fetch(`http://127.0.0.1:${port}${request.url ?? ''}`, { method: request.method ?? 'GET', ...(request.method === 'PUT' ? { body } : {}) });
      response.writeHead(answer.status).end(request.method === 'HEAD' ? undefined : Buffer.from(await answer.arrayBuffer()));
    })();
  }));
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  return {
    port: (front.address() as AddressInfo).port,
    close: () => new Promise((resolve) => {
      front.closeAllConnections();
      front.close(() => resolve());
    }),
  };
}
