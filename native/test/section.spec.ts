import { inspectSection, PageCatalog, ReplicaImage, resolveReferences } from '@virtcft/native';
import fc from 'fast-check';
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [first, second, golden, referring] = [1, 2, 3, 4].map((version) => readFileSync(join(import.meta.dirname, `golden/page-section-v${version}.bin`))) as [Buffer, Buffer, Buffer, Buffer];
const counts = { pages: 4, zero: 1, xor: 1, raw: 2, referred: 0, maxPage: 14, sources: [] };
const refused = expect.objectContaining({ code: 'EBADSECTION' });

test('the golden section of version 1 is read as it was written', () => {
  expect(inspectSection(first)).toEqual(counts);
});

test('the golden section of version 2 is read as it was written', () => {
  expect(inspectSection(second)).toEqual(counts);
});

test('the golden section of version 3 is read as it was written', () => {
  expect(inspectSection(golden)).toEqual(counts);
});

test('the golden section of version 4 is whole with version 3\'s, of which it names a page', async () => {
  expect(inspectSection(referring)).toEqual({ ...counts, raw: 1, referred: 1, sources: ['03'.padEnd(64, '0')] });
  expect(inspectSection(await resolveReferences(referring, [golden]))).toEqual(counts);
  await expect(resolveReferences(referring, [])).rejects.toEqual(refused);
  await expect(resolveReferences(referring, [first])).resolves.toHaveLength((await resolveReferences(referring, [golden])).length);
  const image = new ReplicaImage({ path: join(tmpdir(), `virtcft-section-${process.pid}`), bytes: 16 * 4096 });
  await expect(image.apply(referring)).rejects.toEqual(refused);
  image.close();
  rmSync(join(tmpdir(), `virtcft-section-${process.pid}`));
});

test('a catalog says what was added, and refuses what is no name and no section', async () => {
  const catalog = new PageCatalog();
  expect(await catalog.add({ segment: 'ab'.repeat(32), section: golden })).toEqual({ pages: 1 });
  expect(catalog.sources).toBe(1);
  expect(() => catalog.add({ segment: 'AB'.repeat(32), section: golden })).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  await expect(catalog.add({ segment: 'cd'.repeat(32), section: golden.subarray(1) })).rejects.toEqual(refused);
  catalog.drop(1);
  expect(catalog.sources).toBe(0);
  catalog.close();
  catalog.close();
  expect(() => catalog.clear()).toThrow(expect.objectContaining({ code: 'ECLOSED' }));
});

test('any change of the golden section is refused', () => {
  fc.assert(
    fc.property(fc.nat(golden.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = Buffer.from(golden);
      damaged[at]! ^= change;
      expect(() => inspectSection(damaged)).toThrow(refused);
    }),
    { numRuns: 500 },
  );
});

test('any truncation, and any surplus, is refused', () => {
  for (let length = 0; length < golden.length; length += 7) expect(() => inspectSection(golden.subarray(0, length))).toThrow(refused);
  expect(() => inspectSection(Buffer.concat([golden, Buffer.alloc(1)]))).toThrow(refused);
});

test('random bytes are refused, also behind the right magic', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, magic) => {
      const section = Buffer.from(bytes);
      if (magic) golden.copy(section, 0, 0, 8);
      expect(() => inspectSection(section)).toThrow(refused);
    }),
    { numRuns: 500 },
  );
});

test('something that is no buffer is an argument error', () => {
  expect(() => inspectSection('section' as unknown as Buffer)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
});
