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
  readonly kind: 'zero' | 'raw' | 'xor' | 'reference';
  /** 4096 bytes: of an XOR page the difference. Of a zero page and of a reference nothing. */
  readonly bytes: Buffer | null;
  /** The page of another segment that a reference means. */
  readonly at?: { readonly segment: string; readonly page: number; /** SHA-256 of the page. */ readonly hash: string };
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

/** All words of a page are given, in the plain part: two steps of 32 groups. */
const wholeCode = Buffer.from([0, 0x5f, 0x5f]);

/** Of version 4. */
function referringSection(memoryPages: number, full: boolean, pages: readonly WrittenPage[]): Buffer {
  const index = words(pages.map(({ page, kind }) => page | ({ zero: 0, raw: 1, xor: 2, reference: 3 }[kind] << 30)));
  const contents = pages.flatMap(({ bytes }) => bytes ?? []);
  const blocks: { entry: Buffer; payload: Buffer }[] = [];
  for (let at = 0; at < contents.length; at += blockPages) {
    const held = contents.slice(at, at + blockPages);
    const codes = Buffer.concat(held.map(() => wholeCode));
    const payload = Buffer.concat([...held, codes]);
    blocks.push({ entry: words([held.length, codes.length, codes.length, 0, 0, held.length * pageBytes, crc32c(payload)]), payload });
  }
  const sources = [...new Set(pages.flatMap(({ at }) => at?.segment ?? []))];
  const references = pages.flatMap(({ at }) => (at === undefined ? [] : [words([sources.indexOf(at.segment), at.page]), Buffer.from(at.hash, 'hex').subarray(0, 16)]));
  const tables = Buffer.concat([index, ...blocks.map(({ entry }) => entry), ...sources.map((name) => Buffer.from(name, 'hex')), ...references]);
  const payload = Buffer.concat(blocks.map((block) => block.payload));
  return Buffer.concat([header({ version: 4, full, memoryPages, pages: pages.length, blocks: blocks.length, sources: sources.length }, tables, payload), tables, payload]);
}

/** Pages in rising order; blocks are stored as they are (never compressed). */
export function pageSection(memoryPages: number, full: boolean, pages: readonly WrittenPage[], version: 1 | 2 | 4 = 1): Buffer {
  if (version === 4) return referringSection(memoryPages, full, pages);
  const index = words(pages.map(({ page, kind }) => page | ({ zero: 0, raw: 1, xor: 2, reference: 3 }[kind] << 30)));
  const contents = pages.flatMap(({ bytes, kind }) => (bytes === null ? [] : [version === 2 && kind === 'xor' ? patch(bytes) : bytes]));
  const content = Buffer.concat(contents);
  const blocks: number[][] = [];
  for (let at = 0; at < contents.length; at += blockPages) {
    const block = Buffer.concat(contents.slice(at, at + blockPages));
    blocks.push([block.length, ...(version === 2 ? [block.length] : []), crc32c(block)]);
  }
  const tables = Buffer.concat([index, words(blocks.flat())]);
  return Buffer.concat([header({ version, full, memoryPages, pages: pages.length, blocks: blocks.length, sources: 0 }, tables, content), tables, content]);
}

function header(of: { version: number; full: boolean; memoryPages: number; pages: number; blocks: number; sources: number }, tables: Buffer, payload: Buffer): Buffer {
  const bytes = Buffer.alloc(40);
  bytes.write('VCPS', 0, 'latin1');
  bytes.writeUInt16LE(of.version, 4);
  bytes.writeUInt16LE(of.full ? 1 : 0, 6);
  bytes.writeUInt32LE(of.memoryPages, 8);
  bytes.writeUInt32LE(of.pages, 12);
  bytes.writeUInt32LE(of.blocks, 16);
  bytes.writeUInt32LE(crc32c(tables), 20);
  bytes.writeBigUInt64LE(BigInt(payload.length), 24);
  bytes.writeUInt32LE(of.sources, 32);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, 36)), 36);
  return bytes;
}
