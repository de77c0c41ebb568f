import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { BrokenSectionStream, sectionsOf } from '../src/recovery/section-stream.js';

const stream = (sections: readonly Buffer[], end = true): Buffer => Buffer.concat([
  ...sections.flatMap((section) => { const length = Buffer.alloc(4); length.writeUInt32LE(section.length); return [length, section]; }),
  ...(end ? [Buffer.alloc(4)] : []),
]);

async function read(bytes: Buffer, sizes: readonly number[]): Promise<Buffer[]> {
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
      const size = sizes[turn % sizes.length] ?? 1;
      yield bytes.subarray(at, at + size);
      at += size;
    }
  }
  const sections: Buffer[] = [];
  for await (const section of sectionsOf(pieces(), 1000)) sections.push(section);
  return sections;
}

describe('the page stream', () => {
  it('gives back the sections, in whatever pieces they came', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }), async (lengths, sizes) => {
      const sections = lengths.map((length) => randomBytes(length));
      expect(await read(stream(sections), sizes)).toEqual(sections);
    }));
  });

  it.each([
    ['cut short in a section', stream([Buffer.alloc(20, 1)]).subarray(0, 10)],
    ['without its end mark', stream([Buffer.alloc(20, 1)], false)],
    ['cut short in a length', stream([Buffer.alloc(20, 1)]).subarray(0, 26)],
    ['with a section beyond the bound', stream([Buffer.alloc(1001)])],
    ['with more behind the end', Buffer.concat([stream([Buffer.alloc(3, 1)]), stream([Buffer.alloc(3, 1)])])],
  ])('is refused %s', async (_, bytes) => {
    await expect(read(bytes, [7])).rejects.toThrow(BrokenSectionStream);
  });
});
