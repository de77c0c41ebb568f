import { GuestDisk, inspectSection, ReplicaImage } from '@virtcft/native';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { NbdClient } from './nbd-client';

const run = promisify(execFile);
const BLOCK = 4096;
const BYTES = 1024 * BLOCK;
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const refused = (code: string): unknown => expect.objectContaining({ code });

let folder: string;
let disk: GuestDisk;
let socket: string;
const open: NbdClient[] = [];
const connect = async (): Promise<NbdClient> => {
  const client = await NbdClient.connect(socket);
  open.push(client);
  return client;
};
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtcft-disk-'));
  socket = join(folder, 'nbd');
  mkdirSync(join(folder, 'disk'));
  disk = new GuestDisk({ directory: join(folder, 'disk'), bytes: BYTES, image: null });
});
afterEach(() => {
  for (const client of open.splice(0)) client.close();
  disk.close();
  rmSync(folder, { recursive: true });
});

test('nobody else may read the files of a disk', async () => {
  disk.serve(socket);
  await (await connect()).write(0, Buffer.alloc(BLOCK, 7));
  await disk.capture(1);
  const names = readdirSync(join(folder, 'disk'));
  expect(names).toEqual(expect.arrayContaining(['journal', 'plane-1']));
  for (const name of names) expect([name, statSync(join(folder, 'disk', name)).mode & 0o777]).toEqual([name, 0o600]);
});

test('what is written over NBD is captured, encoded and folded; a replica follows', async () => {
  disk.serve(socket);
  const client = await connect();
  expect(client.bytes).toBe(BYTES);
  const content = Buffer.alloc(BYTES);
  const replica = new ReplicaImage({ path: join(folder, 'replica'), bytes: BYTES });
  let parent: number | null = null;
  for (let epoch = 1; epoch <= 6; epoch += 1) {
    for (let i = 0; i < 20; i += 1) {
      const offset = (epoch * 7919 * (i + 1) * 523) % (BYTES - 20_000);
      const data = Buffer.alloc(1 + ((epoch * 31 + i * 977) % 20_000), epoch * 16 + i);
      expect(await client.write(offset, data)).toBe(0);
      data.copy(content, offset);
    }
    expect(await client.zero(epoch * 5 * BLOCK + 9, 2 * BLOCK)).toBe(0);
    content.fill(0, epoch * 5 * BLOCK + 9, epoch * 5 * BLOCK + 9 + 2 * BLOCK);
    expect(await client.flush()).toBe(0);
    const captured = await disk.capture(epoch);
    expect(captured.busy).toBe(0);
    const { section, pages, xor } = await disk.encode({ parent, epoch });
    expect(xor).toBe(0);
    if (parent !== null) expect(pages).toBe(captured.blocks);
    expect(inspectSection(section).pages).toBe(pages);
    await replica.apply(section);
    expect(await replica.digest()).toBe(sha256(content));
    expect(await disk.digest(epoch)).toBe(sha256(content));
    if (epoch % 2 === 0) expect((await disk.fold(epoch)).blocks).toBeGreaterThan(0);
    parent = epoch;
  }
  replica.close();
  expect((await client.read(0, BYTES)).equals(content)).toBe(true);
  expect(disk.stats()).toMatchObject({ layers: 0, layer_bytes: 0, open_blocks: 0, connections: 1, flushes: 6, writes: 120, reads: 1, read_bytes: BYTES });
});

test('a rollback cuts the connections, and the next one finds the disk of the cut', async () => {
  disk.serve(socket);
  const client = await connect();
  await client.write(0, Buffer.alloc(BLOCK, 1));
  await disk.capture(1);
  await client.write(0, Buffer.alloc(BLOCK, 2));
  await disk.capture(2);
  await client.write(BLOCK, Buffer.alloc(BLOCK, 3));
  expect(await disk.rollback(1)).toEqual({ blocks: 2 });
  await expect(client.read(0, BLOCK)).rejects.toThrow('ended');
  const next = await connect();
  expect(await next.read(0, 2 * BLOCK)).toEqual(Buffer.concat([Buffer.alloc(BLOCK, 1), Buffer.alloc(BLOCK)]));
  await expect(disk.encode({ parent: 1, epoch: 2 })).rejects.toMatchObject({ code: 'EEPOCH' });
});

test('an image becomes the base as it is, and a disk is found again with its layers', async () => {
  disk.close();
  mkdirSync(join(folder, 'other'));
  const image = join(folder, 'raw');
  writeFileSync(image, Buffer.alloc(BLOCK, 7));
  expect(() => new GuestDisk({ directory: join(folder, 'other'), bytes: BYTES, image })).toThrow(refused('EINVAL'));
  truncateSync(image, BYTES);
  disk = new GuestDisk({ directory: join(folder, 'other'), bytes: BYTES, image });
  expect(existsSync(image)).toBe(false);
  disk.serve(socket);
  const client = await connect();
  await client.write(BLOCK, Buffer.alloc(BLOCK, 8));
  await disk.capture(3);
  await client.write(2 * BLOCK, Buffer.alloc(BLOCK, 9));
  expect(() => GuestDisk.reopen({ directory: join(folder, 'other') })).toThrow(refused('ESTATE'));
  disk.close();
  disk = GuestDisk.reopen({ directory: join(folder, 'other') });
  expect(disk.bytes).toBe(BYTES);
  expect(disk.stats()).toMatchObject({ layers: 1, layer_bytes: BLOCK, open_blocks: 1, base_bytes: BYTES });
  disk.serve(socket);
  expect(await (await connect()).read(0, 4 * BLOCK)).toEqual(Buffer.concat([7, 8, 9, 0].map((value) => Buffer.alloc(BLOCK, value))));
});

test('a restored disk serves at once: what is absent is asked for and waited for', async () => {
  const source = new ReplicaImage({ path: join(folder, 'replica'), bytes: BYTES });
  disk.serve(socket);
  const first = await connect();
  for (let i = 0; i < 8; i += 1) await first.write(i * 100 * BLOCK, Buffer.alloc(BLOCK, i + 1));
  await disk.capture(1);
  await source.apply((await disk.encode({ parent: null, epoch: 1 })).section);
  disk.beginFill(1);
  await expect(first.read(0, 1)).rejects.toThrow('ended');
  const asked: number[] = [];
  disk.onWanted((blocks) => {
    asked.push(...blocks);
    for (const block of blocks) void source.read({ first: block, count: 1 }).then((section) => disk.supply(section));
  });
  const client = await connect();
  expect(await client.read(100 * BLOCK, BLOCK)).toEqual(Buffer.alloc(BLOCK, 2));
  expect(await client.write(200 * BLOCK + 10, Buffer.from('guest'))).toBe(0);
  expect(await client.write(300 * BLOCK, Buffer.alloc(BLOCK, 99))).toBe(0);
  expect(asked).toEqual([100, 200]);
  expect(disk.fillStats()).toMatchObject({ faults: 2, present: 2, total: 1024, done: false });
  await disk.supply(await source.read({ first: 0, count: 900 }));
  expect(await disk.supplyRestAsZero()).toEqual({ pages: 124 });
  expect(disk.fillStats()).toMatchObject({ present: 1024, done: true });
  expect(await disk.digest(1)).toBe(await source.digest());
  await disk.capture(2);
  await source.apply((await disk.encode({ parent: 1, epoch: 2 })).section);
  expect(sha256(await client.read(0, BYTES))).toBe(await source.digest());
  source.close();
});

test('a close ends connections and rejects what had no turn; then all is refused by code', async () => {
  disk.serve(socket);
  const client = await connect();
  const calls = [disk.capture(1), disk.digest(1), disk.supplyRestAsZero()].map((call) => call.catch((error: unknown) => error));
  disk.close();
  disk.close();
  for (const result of await Promise.all(calls)) if (result instanceof Error) expect(result).toMatchObject({ code: expect.stringMatching(/ECLOSED|EEPOCH/) });
  await expect(client.read(0, 1)).rejects.toThrow('ended');
  expect(existsSync(socket)).toBe(false);
  expect(() => disk.stats()).toThrow(refused('ECLOSED'));
  expect(() => disk.serve(socket)).toThrow(refused('ECLOSED'));
  expect(() => new GuestDisk({ directory: join(folder, 'disk'), bytes: BYTES, image: null })).toThrow(refused('EEXIST'));
  expect(() => new GuestDisk({ directory: folder, bytes: 100, image: null })).toThrow(refused('EINVAL'));
  expect(() => GuestDisk.reopen({ directory: folder })).toThrow(refused('ENODISK'));
  writeFileSync(join(folder, 'journal'), 'no journal');
  expect(() => GuestDisk.reopen({ directory: folder })).toThrow(refused('EBADDISK'));
});

test('arguments that cannot be right are refused by code', () => {
  expect(() => disk.serve('x'.repeat(200))).toThrow(refused('EINVAL'));
  expect(() => disk.capture(-1)).toThrow(refused('EINVAL'));
  expect(() => disk.supply('section' as unknown as Buffer)).toThrow(refused('EINVAL'));
  expect(() => { disk.onWanted(3 as unknown as null); }).toThrow(refused('EINVAL'));
});

test('QEMU\'s own client reads and writes it, while cuts are made', async () => {
  disk.serve(socket);
  const uri = `nbd+unix:///?socket=${socket}`;
  const raw = join(folder, 'raw');
  const content = Buffer.alloc(BYTES);
  for (let i = 0; i < BYTES; i += 8) content.writeUInt32LE(i, i);
  content.fill(0, 100 * BLOCK, 400 * BLOCK);
  writeFileSync(raw, content);
  await run('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', raw, uri]);
  await disk.capture(1);
  expect(await disk.digest(1)).toBe(sha256(content));
  await run('qemu-io', ['-f', 'raw', '-c', 'write -P 0x5a 4000 9000', '-c', 'aio_write -P 0x11 409600 65536', '-c', 'aio_flush', '-c', 'write -z 16384 8192', '-c', 'discard 40960 8192', '-c', 'flush',
    '-c', 'read -P 0x5a 4000 9000', '-c', 'read -P 0 16384 8192', uri]);
  content.fill(0x5a, 4000, 13_000).fill(0x11, 409_600, 475_136).fill(0, 16_384, 24_576).fill(0, 40_960, 49_152);
  expect((await disk.capture(2)).busy).toBe(0);
  expect(await disk.digest(2)).toBe(sha256(content));
  await disk.fold(1);
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, join(folder, 'back')]);
  const { stdout } = await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', join(folder, 'back'), uri]);
  expect(stdout).toContain('identical');
});
