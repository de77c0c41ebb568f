import { expandChunk, sha256, writeChunk } from '@virtcft/native';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';

const named = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
const refused = expect.objectContaining({ code: 'EBADCHUNK' });

let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'virtcft-content-')); });
afterEach(() => { rmSync(folder, { recursive: true }); });

test('many chunks at once come out as they went in, in memory and in a file', async () => {
  const chunks = Array.from({ length: 300 }, (_, at) => randomBytes(1 + (at * 977) % 20_000));
  const fd = openSync(join(folder, 'file'), 'w');
  let end = 0;
  const placed = chunks.map((content) => {
    end += content.length;
    return { stored: zstdCompressSync(content), hash: named(content), bytes: content.length, position: end - content.length };
  });
  await Promise.all(placed.map((each) => writeChunk({ ...each, fd })));
  closeSync(fd);
  expect(readFileSync(join(folder, 'file')).equals(Buffer.concat(chunks))).toBe(true);
  const expanded = await Promise.all(placed.map((each) => expandChunk({ ...each, bytes: null })));
  expect(Buffer.concat(expanded).equals(Buffer.concat(chunks))).toBe(true);
});

test('a refused chunk leaves the file as it was', async () => {
  const content = randomBytes(5_000);
  const fd = openSync(join(folder, 'file'), 'w');
  const good = { stored: zstdCompressSync(content), hash: named(content), bytes: 5_000 };
  for (const bad of [{ ...good, hash: named(Buffer.of(1)) }, { ...good, bytes: 4_999 }, { ...good, stored: content }]) {
    await expect(writeChunk({ ...bad, fd, position: 0 })).rejects.toEqual(refused);
    await expect(expandChunk(bad)).rejects.toEqual(refused);
  }
  closeSync(fd);
  expect(readFileSync(join(folder, 'file')).length).toBe(0);
  await expect(writeChunk({ ...good, fd: 999_999, position: 0 })).rejects.toMatchObject({ code: 'EIO' });
});

test('a hash is the one that everybody else finds', async () => {
  for (const content of [Buffer.alloc(0), Buffer.from('abc'), randomBytes(3_000_001)]) expect(await sha256(content)).toBe(named(content));
});

test('wrong arguments are errors of the call', () => {
  const wrong = expect.objectContaining({ code: 'EINVAL' });
  expect(() => sha256('text' as unknown as Buffer)).toThrow(wrong);
  expect(() => expandChunk({ stored: undefined as unknown as Buffer, hash: '', bytes: null })).toThrow(wrong);
  expect(() => writeChunk({ stored: Buffer.alloc(1), hash: '', bytes: 1, fd: -1, position: 0 })).toThrow(wrong);
});
