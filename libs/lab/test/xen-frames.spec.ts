import fc from 'fast-check';
import { AnswerReader } from '../src/xen/frames.js';
import { MOST_FRAME_BYTES, MOST_OUTPUT_BYTES } from '../src/xen/limits.js';

function frame(kind: string, content: Buffer | string): Buffer {
  const bytes = Buffer.from(content);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([Buffer.from(kind), length, bytes]);
}

describe('the answer of a program in dom0', () => {
  it('is the same however it is cut into pieces', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.constantFrom('o', 'e'), fc.string({ unit: 'grapheme-ascii' })), { maxLength: 8 }), fc.integer({ min: 0, max: 255 }), fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (said, code, cuts) => {
      const stream = Buffer.concat([...said.map(([kind, text]) => frame(kind, text)), frame('x', String(code))]);
      const reader = new AnswerReader();
      for (let at = 0, turn = 0; at < stream.length; turn++) {
        const length = cuts[turn % cuts.length]!;
        expect(reader.answer()).toBeNull();
        reader.push(stream.subarray(at, at + length));
        at += length;
      }
      const of = (wanted: string): string => said.flatMap(([kind, text]) => (kind === wanted ? [text] : [])).join('');
      expect(reader.answer()).toEqual({ code, out: Buffer.from(of('o')), err: of('e') });
    }));
  });

  it.each<[string, Buffer, RegExp]>([
    ['a frame that is too long', Buffer.from([0x6f, 0xff, 0xff, 0xff, 0xff]), /at most 65536/],
    ['an unknown kind', frame('?', ''), /unknown kind 63/],
    ['an exit code that is none', frame('x', '1e9'), /unknown kind/],
    ['more after the exit code', Buffer.concat([frame('x', '0'), frame('o', 'a')]), /after the exit code/],
  ])('%s is refused', (_, stream, why) => {
    expect(() => { new AnswerReader().push(stream); }).toThrow(why);
  });

  it('has an end', () => {
    const reader = new AnswerReader();
    const full = frame('o', Buffer.alloc(MOST_FRAME_BYTES));
    for (let bytes = 0; bytes < MOST_OUTPUT_BYTES; bytes += MOST_FRAME_BYTES) reader.push(full);
    expect(() => { reader.push(full); }).toThrow(/let it write into a file/);
  });
});
