import { inspectSection, ReplicaImage } from '@virtcft/native';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const golden = readFileSync(join(import.meta.dirname, 'golden/page-section-v1.bin'));
const PAGE = 4096;
const BYTES = 16 * PAGE;
/** The raw page of the golden section: a linear congruential sequence, which does not compress. */
function dense(): Buffer {
  const page = Buffer.alloc(PAGE);
  let state = 1;
  for (let i = 0; i < PAGE; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    page[i] = state >>> 16;
  }
  return page;
}

let folder: string;
let replica: ReplicaImage;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtcft-replica-'));
  replica = new ReplicaImage({ path: join(folder, 'image'), bytes: BYTES });
});
afterEach(() => {
  replica.close();
  rmSync(folder, { recursive: true });
});

test('nobody else may read a replica', async () => {
  await replica.apply(golden);
  expect(statSync(join(folder, 'image')).mode & 0o777).toBe(0o600);
});

test('the golden section has the content that its description says', async () => {
  expect(await replica.apply(golden)).toEqual({ pages: 4 });
  await replica.sync();
  const expected = Buffer.alloc(BYTES);
  expected.write('changed', 5 * PAGE + 100);
  dense().copy(expected, 9 * PAGE);
  expected.fill(0x42, 14 * PAGE, 15 * PAGE);
  expect(readFileSync(join(folder, 'image')).equals(expected)).toBe(true);
  expect(await replica.digest()).toBe(createHash('sha256').update(expected).digest('hex'));
  expect([...(await replica.extents())]).toEqual([5, 1, 9, 1, 14, 1]);
});

test('an XOR page is applied to what is there', async () => {
  await replica.apply(golden);
  await replica.apply(golden);
  expect([...(await replica.extents())]).toEqual([9, 1, 14, 1]);
});

test('read gives raw and zero pages, a whole image travels through it', async () => {
  await replica.apply(golden);
  const section = await replica.read({ first: 4, count: 12 });
  expect(inspectSection(section)).toEqual({ pages: 12, zero: 9, xor: 0, raw: 3, referred: 0, maxPage: 15, sources: [] });
  const copy = new ReplicaImage({ path: join(folder, 'copy'), bytes: BYTES });
  await copy.apply(section);
  expect(await copy.digest()).toBe(await replica.digest());
  copy.close();
});

test('a refused section changes nothing', async () => {
  await replica.apply(golden);
  const before = await replica.digest();
  const damaged = Buffer.from(golden);
  damaged[damaged.length - 1]! ^= 1;
  await expect(replica.apply(damaged)).rejects.toMatchObject({ code: 'EBADSECTION' });
  expect(await replica.digest()).toBe(before);
  const other = new ReplicaImage({ path: join(folder, 'other'), bytes: 2 * BYTES });
  await expect(other.apply(golden)).rejects.toMatchObject({ code: 'EBADSECTION' });
  other.close();
});

test('a file is sparse, reopens with its content, and has one size', async () => {
  await replica.apply(golden);
  const digest = await replica.digest();
  replica.close();
  expect(statSync(join(folder, 'image')).blocks * 512).toBeLessThan(BYTES);
  expect(() => new ReplicaImage({ path: join(folder, 'image'), bytes: 2 * BYTES })).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  replica = new ReplicaImage({ path: join(folder, 'image'), bytes: BYTES });
  expect(await replica.digest()).toBe(digest);
});

test('ranges out of bounds and calls after the close are refused by code', async () => {
  await expect(replica.read({ first: 15, count: 2 })).rejects.toMatchObject({ code: 'EINVAL' });
  expect(() => replica.read({ first: -1, count: 2 })).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  replica.close();
  replica.close();
  expect(() => replica.digest()).toThrow(expect.objectContaining({ code: 'ECLOSED' }));
});
