import { decodePackIndex } from '../../src/index.js';

/** A stretch of an object: bytes [from, to). */
export interface Part { readonly name: string; readonly from: number; readonly to: number }

/** What a key holds and where its parts lie. A new kind of object is one more entry. */
export interface ObjectKind {
  readonly name: string;
  readonly key: RegExp;
  /** No other object says that it should be there: that it is gone shows nowhere. A cut needs none of these. */
  readonly unnamed?: true;
  parts(bytes: Buffer): Part[];
}

export const objectKinds: readonly ObjectKind[] = [
  { name: 'pack', key: /\/packs\//, parts: packParts },
  { name: 'manifest', key: /\/cuts\//, parts: whole },
  { name: 'image', key: /\/images\//, parts: whole },
  { name: 'chunk', key: /\/chunks\//, parts: (bytes) => [{ name: 'frame head', from: 0, to: 9 }, { name: 'frame', from: 9, to: bytes.length }] },
  { name: 'generation', key: /\/generations\//, parts: whole },
  { name: 'base', key: /\/bases\//, unnamed: true, parts: whole },
  { name: 'definition', key: /\/definitions\//, unnamed: true, parts: whole },
];

/** Throws for a key of no kind: it is to be added here. */
export function kindOf(key: string): ObjectKind {
  const found = objectKinds.find((kind) => kind.key.test(key));
  if (found === undefined) throw new Error(`no kind of object for "${key}": add it to objectKinds`);
  return found;
}

/** Of an object as docs/formats/sealed-object.md lays it out. */
export function sealedParts(bytes: Buffer): Part[] {
  const fields = { magic: 8, version: 12, record: 16, length: 24, key: 40, salt: 72, checksum: 76, authentication: 108 };
  const parts: Part[] = [];
  for (const [name, to] of Object.entries(fields)) parts.push({ name: `head ${name}`, from: parts.at(-1)?.to ?? 0, to });
  for (let from = 108; from < bytes.length; from += 65_552) {
    const to = Math.min(bytes.length, from + 65_552);
    if (to - 16 > from) parts.push({ name: 'record', from, to: to - 16 });
    parts.push({ name: 'record tag', from: to - 16, to });
  }
  return parts;
}

function whole(bytes: Buffer): Part[] {
  return [{ name: 'all', from: 0, to: bytes.length }];
}

function packParts(bytes: Buffer): Part[] {
  const { places } = decodePackIndex(bytes);
  const first = places.segments[0]?.offset ?? places.channel.offset;
  const parts: Part[] = [{ name: 'pack head', from: 0, to: 32 }, { name: 'pack index', from: 32, to: first }];
  for (const { offset, length } of places.segments) parts.push(...segmentParts(bytes.subarray(offset, offset + length)).map((part) => shifted(part, offset)));
  if (places.channel.length > 0) parts.push({ name: 'channel state', from: places.channel.offset, to: bytes.length });
  return parts;
}

const shifted = ({ name, from, to }: Part, by: number): Part => ({ name, from: from + by, to: to + by });

/** docs/formats/segment.md. */
function segmentParts(bytes: Buffer): Part[] {
  const [header, pages, device, disks] = [bytes.readUInt32LE(12), Number(bytes.readBigUInt64LE(16)), Number(bytes.readBigUInt64LE(24)), bytes.readUInt32LE(52)];
  const parts: Part[] = [{ name: 'segment prelude', from: 0, to: 64 }];
  const add = (name: string, length: number): number => {
    const from = parts.at(-1)?.to ?? 0;
    if (length > 0) parts.push({ name, from, to: from + length });
    return from;
  };
  const section = (of: string, length: number): void => {
    const from = parts.at(-1)?.to ?? 0;
    parts.push(...sectionParts(bytes.subarray(from, from + length), of).map((part) => shifted(part, from)));
  };
  add('disk table', 16 * disks);
  add('segment header', header);
  section('page', pages);
  add('device state', device);
  for (let at = 0; at < disks; at++) section('disk', Number(bytes.readBigUInt64LE(64 + 16 * at)));
  return parts;
}

/** docs/formats/page-section.md, of blocks that are not compressed. */
function sectionParts(bytes: Buffer, of: string): Part[] {
  const [version, count, blocks] = [bytes.readUInt16LE(4), bytes.readUInt32LE(12), bytes.readUInt32LE(16)];
  const index = 40 + 4 * count;
  if (version === 4) return referringParts(bytes, of, { count, index, blocks });
  const payload = index + (version === 1 ? 8 : 12) * blocks;
  const parts: Part[] = [{ name: `${of} section header`, from: 0, to: 40 }, { name: `${of} section index`, from: 40, to: index }, { name: `${of} section block table`, from: index, to: payload }];
  let from = payload;
  for (let at = 0; at < count; at++) {
    const kind = bytes.readUInt32LE(40 + 4 * at) >>> 30;
    if (kind === 0) continue;
    const length = kind === 1 || version === 1 ? 4096 : 64 + 8 * bits(bytes.subarray(from, from + 64));
    parts.push({ name: kind === 1 ? `${of} contents` : `${of} patches`, from, to: from + length });
    from += length;
  }
  if (from !== bytes.length) throw new Error(`the parts of a ${of} section end at ${from}, it has ${bytes.length} bytes`);
  return parts.filter((part) => part.to > part.from);
}

/** Of version 4: the tables of sources and references, and of each block plain words and codes. */
function referringParts(bytes: Buffer, of: string, { count, index, blocks }: { count: number; index: number; blocks: number }): Part[] {
  const referred = Array.from({ length: count }, (_, at) => bytes.readUInt32LE(40 + 4 * at) >>> 30).filter((kind) => kind === 3).length;
  const tables = { 'section header': 40, 'section index': index, 'section block table': index + 28 * blocks, sources: 0, references: 0 };
  tables.sources = tables['section block table'] + 32 * bytes.readUInt32LE(32);
  tables.references = tables.sources + 24 * referred;
  const parts: Part[] = [];
  const add = (name: string, to: number): void => { parts.push({ name: `${of} ${name}`, from: parts.at(-1)?.to ?? 0, to }); };
  for (const [name, to] of Object.entries(tables)) add(name, to);
  for (let at = 0; at < blocks; at++) {
    const [codes, plain] = [bytes.readUInt32LE(index + 28 * at + 4), bytes.readUInt32LE(index + 28 * at + 20)];
    const from = parts.at(-1)?.to ?? 0;
    add('contents', from + plain);
    add('codes', from + plain + codes);
  }
  if (parts.at(-1)?.to !== bytes.length) throw new Error(`the parts of a ${of} section end at ${parts.at(-1)?.to}, it has ${bytes.length} bytes`);
  return parts.filter((part) => part.to > part.from);
}

function bits(bytes: Buffer): number {
  let count = 0;
  for (const byte of bytes) for (let left = byte; left > 0; left &= left - 1) count++;
  return count;
}
