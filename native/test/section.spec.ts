import { inspectSection } from '@virtcft/native';
import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const [first, second, golden] = [1, 2, 3].map((version) => readFileSync(join(import.meta.dirname, `golden/page-section-v${version}.bin`))) as [Buffer, Buffer, Buffer];
const counts = { pages: 4, zero: 1, xor: 1, raw: 2, maxPage: 14 };
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
