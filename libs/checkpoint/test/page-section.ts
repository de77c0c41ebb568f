/** A second, slow encoder of docs/formats/page-section.md, so that the tests make sections without a guest. */
const pageBytes = 4096;
const blockPages = 64;

const table = Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});
function crc32c(bytes: Buffer): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 0xff] as number);
  return (crc ^ 0xffff_ffff) >>> 0;
}

const words = (values: readonly number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, at) => bytes.writeUInt32LE(value >>> 0, at * 4));
  return bytes;
};

export interface WrittenPage {
  readonly page: number;
  readonly kind: 'zero' | 'raw' | 'xor';
  /** 4096 bytes: of an XOR page the difference. Of a zero page nothing. */
  readonly bytes: Buffer | null;
}

const wordBytes = 8;
/** Of a page that is written as a patch; one that differs in more is written raw. */
export const patchWords = 256;

/** Of version 2: a map of the words that are not zero, then those words. */
function patch(xor: Buffer): Buffer {
  const map = Buffer.alloc(pageBytes / wordBytes / 8);
  const differing: Buffer[] = [];
  for (let at = 0; at < pageBytes / wordBytes; at++) {
    const word = xor.subarray(at * wordBytes, (at + 1) * wordBytes);
    if (word.every((byte) => byte === 0)) continue;
    map[at >> 3] = (map[at >> 3] as number) | (1 << (at & 7));
    differing.push(word);
  }
  return Buffer.concat([map, ...differing]);
}

/** Pages in rising order; blocks are stored as they are (never compressed). */
export function pageSection(memoryPages: number, full: boolean, pages: readonly WrittenPage[], version: 1 | 2 = 1): Buffer {
  const index = words(pages.map(({ page, kind }) => page | ({ zero: 0, raw: 1, xor: 2 }[kind] << 30)));
  const contents = pages.flatMap(({ bytes, kind }) => (bytes === null ? [] : [version === 2 && kind === 'xor' ? patch(bytes) : bytes]));
  const content = Buffer.concat(contents);
  const blocks: number[][] = [];
  for (let at = 0; at < contents.length; at += blockPages) {
    const block = Buffer.concat(contents.slice(at, at + blockPages));
    blocks.push([block.length, ...(version === 2 ? [block.length] : []), crc32c(block)]);
  }
  const tables = Buffer.concat([index, words(blocks.flat())]);
  const header = Buffer.alloc(40);
  header.write('VCPS', 0, 'latin1');
  header.writeUInt16LE(version, 4);
  header.writeUInt16LE(full ? 1 : 0, 6);
  header.writeUInt32LE(memoryPages, 8);
  header.writeUInt32LE(pages.length, 12);
  header.writeUInt32LE(blocks.length, 16);
  header.writeUInt32LE(crc32c(tables), 20);
  header.writeBigUInt64LE(BigInt(content.length), 24);
  header.writeUInt32LE(crc32c(header.subarray(0, 36)), 36);
  return Buffer.concat([header, tables, content]);
}
