import { promisify } from 'node:util';
import { constants, crc32, zstdCompress, zstdDecompress } from 'node:zlib';
import { z } from 'zod';
import { ClusterId, Epoch, Generation, Identity, Incarnation, Name, RunState, Sha256 } from '@virtcft/events';
import { canonicalJson, checked, joinInTurns, parseCanonical, sha256, sha256InTurns } from './canonical.js';
import { FormatError } from './format-error.js';
import { limits } from './limits.js';

/** One disk as a segment holds it. */
export const SegmentDisk = z.strictObject({
  name: Name,
  bytes: z.int().min(4096).multipleOf(4096),
  /** Base image (docs/formats/image.md) that a full segment of this disk is a change to; null: blocks that no segment names are zero. */
  image: Sha256.nullable(),
});
export type SegmentDisk = z.infer<typeof SegmentDisk>;

/** What a segment says about itself. Layout of the bytes: docs/formats/segment.md. */
export const SegmentHeader = z.strictObject({
  cluster: ClusterId, vm: Name, generation: Generation, incarnation: Incarnation,
  epoch: Epoch.max(limits.epoch),
  /** Hash of the segment that this one is a change to (R2a); null for a full one. */
  parent: Sha256.nullable(),
  kind: z.enum(['full', 'delta']),
  runState: RunState,
  memory_bytes: z.int().min(4096).multipleOf(4096),
  /** Base image of the memory that a full segment is a change to (R20); absent: pages that no segment names are zero. */
  image: Sha256.optional(),
  identity: Identity.strict(),
  /** In the order of their block sections; the same along a chain. */
  disks: z.array(SegmentDisk).max(limits.segmentDisks).refine((disks) => new Set(disks.map(({ name }) => name)).size === disks.length, 'two disks of one name').default([]),
}).refine((header) => (header.kind === 'delta') === (header.parent !== null), { path: ['parent'], message: 'a delta has a parent, a full segment has none' })
  .refine((header) => header.kind === 'full' || header.image === undefined, { path: ['image'], message: 'a delta changes its parent, no image' });
export type SegmentHeader = z.infer<typeof SegmentHeader>;

export interface EncodedSegment {
  readonly header: SegmentHeader;
  readonly bytes: Buffer;
  /** SHA-256 of `bytes`: the segment's name in parents, packs and manifests. */
  readonly hash: string;
}

export interface Segment extends EncodedSegment {
  /** The page section (docs/formats/page-section.md), a view into `bytes`. */
  readonly pages: Buffer;
  /** Device and CPU state as stored (a zstd frame), a view into `bytes`. */
  readonly deviceStored: Buffer;
  readonly device_bytes: number;
  /** Device and CPU state as the hypervisor gave it. */
  device(): Promise<Buffer>;
  /** A section of blocks per disk of the header, views into `bytes`. */
  readonly disks: readonly Buffer[];
}

/** Bytes that hold the header of any segment. */
export const segmentHeadBytes = 64 + limits.segmentDisks * 16 + limits.segmentHeaderBytes;

/** What is put into a segment. */
export interface SegmentParts {
  /** A page section (docs/formats/page-section.md). */
  readonly pages: Buffer;
  /** Device and CPU state as the hypervisor gave it. */
  readonly device: Buffer;
  /** A page section of 4096-byte blocks, raw and zero, per disk of the header; none when it names none. */
  readonly disks?: readonly Buffer[];
}

const magic = Buffer.from('VCFTSEG\n');
const version = 1;
const preludeBytes = 64;
/** Of the disk table. */
const entryBytes = 16;
const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

/** Builds a segment's bytes; copies each part once. Throws FormatError for a header that no parser would take. */
export async function encodeSegment(described: z.input<typeof SegmentHeader>, parts: SegmentParts): Promise<EncodedSegment> {
  const header = checked(SegmentHeader, described, 'segment header');
  const disks = parts.disks ?? [];
  if (disks.length !== header.disks.length) throw new FormatError('disk table', `${disks.length} block sections, the header names ${header.disks.length} disks`);
  if (parts.device.length > limits.deviceBytes) throw new FormatError('device state', `${parts.device.length} bytes, at most ${limits.deviceBytes} are allowed`);
  const device = await compressDevice(parts.device);
  const json = Buffer.from(canonicalJson(header));
  if (json.length > limits.segmentHeaderBytes) throw new FormatError('segment header', `${json.length} bytes, at most ${limits.segmentHeaderBytes} are allowed`);
  const headerAt = preludeBytes + disks.length * entryBytes;
  const { bytes, crcs: [, jsonCrc = 0, pagesCrc = 0, deviceCrc = 0, ...diskCrcs] } = await joinInTurns([Buffer.alloc(headerAt), json, parts.pages, device, ...disks]);
  disks.forEach((section, at) => {
    bytes.writeBigUInt64LE(BigInt(section.length), preludeBytes + at * entryBytes);
    bytes.writeUInt32LE(diskCrcs[at] ?? 0, preludeBytes + at * entryBytes + 8);
  });
  magic.copy(bytes);
  bytes.writeUInt16LE(version, 8);
  bytes.writeUInt32LE(json.length, 12);
  bytes.writeBigUInt64LE(BigInt(parts.pages.length), 16);
  bytes.writeBigUInt64LE(BigInt(device.length), 24);
  bytes.writeBigUInt64LE(BigInt(parts.device.length), 32);
  bytes.writeUInt32LE(jsonCrc, 40);
  bytes.writeUInt32LE(pagesCrc, 44);
  bytes.writeUInt32LE(deviceCrc, 48);
  bytes.writeUInt32LE(disks.length, 52);
  bytes.writeUInt32LE(crc32(bytes.subarray(preludeBytes, headerAt)), 56);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
  return { header, bytes, hash: await sha256InTurns(bytes) };
}

/** Checks every byte. Throws FormatError that names the part at fault, also when the hash is not `expectedHash`. `hash`: that of the bytes, for who has it already. */
export function decodeSegment(bytes: Buffer, expectedHash?: string, hash = sha256(bytes)): Segment {
  const prelude = 'segment prelude';
  if (bytes.length < preludeBytes) throw new FormatError(prelude, `${bytes.length} bytes, it has ${preludeBytes}`);
  if (!bytes.subarray(0, 8).equals(magic)) throw new FormatError(prelude, 'this is no segment');
  if (crc32(bytes.subarray(0, 60)) !== bytes.readUInt32LE(60)) throw new FormatError(prelude, 'its checksum differs');
  if (bytes.readUInt16LE(8) !== version) throw new FormatError(prelude, `version ${bytes.readUInt16LE(8)} is not known here`);
  if (bytes.readUInt16LE(10) !== 0) throw new FormatError(prelude, 'reserved bytes are not zero');
  const table = diskTable(bytes);
  const headerAt = preludeBytes + table.length * entryBytes;
  const headerEnd = headerAt + bytes.readUInt32LE(12);
  const pagesEnd = headerEnd + Number(bytes.readBigUInt64LE(16));
  const deviceEnd = pagesEnd + Number(bytes.readBigUInt64LE(24));
  const device_bytes = Number(bytes.readBigUInt64LE(32));
  const end = table.reduce((sum, { length }) => sum + length, deviceEnd);
  if (end !== bytes.length) throw new FormatError('segment', `its parts end at ${end}, it has ${bytes.length} bytes`);
  if (device_bytes > limits.deviceBytes) throw new FormatError('device state', `${device_bytes} bytes, at most ${limits.deviceBytes} are allowed`);
  const part = (name: string, from: number, to: number, checksumAt: number): Buffer => {
    const view = bytes.subarray(from, to);
    // Where the hash is known and right, the checksums have nothing to add; else they tell which part is at fault.
    if (hash !== expectedHash && crc32(view) !== bytes.readUInt32LE(checksumAt)) throw new FormatError(name, 'its checksum differs');
    return view;
  };
  const header = parseCanonical(SegmentHeader, part('segment header', headerAt, headerEnd, 40), 'segment header', limits.segmentHeaderBytes);
  const pages = part('page section', headerEnd, pagesEnd, 44);
  const deviceStored = part('device state', pagesEnd, deviceEnd, 48);
  if (header.disks.length !== table.length) throw new FormatError('disk table', `${table.length} block sections, the header names ${header.disks.length} disks`);
  let at = deviceEnd;
  const disks = table.map(({ length, checksumAt }) => {
    at += length;
    return part('block section', at - length, at, checksumAt);
  });
  if (expectedHash !== undefined && hash !== expectedHash) throw new FormatError('segment', `its hash is ${hash}, ${expectedHash} is expected`);
  return { header, bytes, hash, pages, deviceStored, device_bytes, device: () => expandDevice(deviceStored, device_bytes), disks };
}

/** Lengths of the block sections, and where their checksums are. */
function diskTable(bytes: Buffer): { length: number; checksumAt: number }[] {
  const part = 'disk table';
  const count = bytes.readUInt32LE(52);
  const end = preludeBytes + count * entryBytes;
  if (count > limits.segmentDisks) throw new FormatError(part, `${count} disks, at most ${limits.segmentDisks} are allowed`);
  if (end > bytes.length) throw new FormatError(part, `cut short at ${bytes.length} of ${end} bytes`);
  if (crc32(bytes.subarray(preludeBytes, end)) !== bytes.readUInt32LE(56)) throw new FormatError(part, 'its checksum differs');
  return Array.from({ length: count }, (_, at) => {
    const entry = preludeBytes + at * entryBytes;
    if (bytes.readUInt32LE(entry + 12) !== 0) throw new FormatError(part, 'reserved bytes are not zero');
    return { length: Number(bytes.readBigUInt64LE(entry)), checksumAt: entry + 8 };
  });
}

/** The header alone, of a segment's first bytes: `segmentHeadBytes` of them, or all. Throws FormatError. */
export function decodeSegmentHeader(head: Buffer): SegmentHeader {
  const prelude = 'segment prelude';
  if (head.length < preludeBytes || !head.subarray(0, 8).equals(magic)) throw new FormatError(prelude, 'this is no segment');
  if (crc32(head.subarray(0, 60)) !== head.readUInt32LE(60)) throw new FormatError(prelude, 'its checksum differs');
  if (head.readUInt16LE(8) !== version) throw new FormatError(prelude, `version ${head.readUInt16LE(8)} is not known here`);
  const from = preludeBytes + diskTable(head).length * entryBytes;
  const json = head.subarray(from, from + head.readUInt32LE(12));
  if (crc32(json) !== head.readUInt32LE(40)) throw new FormatError('segment header', 'its checksum differs');
  return parseCanonical(SegmentHeader, json, 'segment header', limits.segmentHeaderBytes);
}

/** A device state as it is stored. */
export const compressDevice = (raw: Buffer): Promise<Buffer> => compress(raw, { params: { [constants.ZSTD_c_compressionLevel]: 1 } });

/** Decompresses a stored device state of `device_bytes` raw bytes. */
export async function expandDevice(stored: Buffer, device_bytes: number): Promise<Buffer> {
  if (device_bytes > limits.deviceBytes) throw new FormatError('device state', `${device_bytes} bytes, at most ${limits.deviceBytes} are allowed`);
  const raw = await decompress(stored, { maxOutputLength: Math.max(device_bytes, 1) }).catch((error: unknown) => {
    throw new FormatError('device state', (error as Error).message);
  });
  if (raw.length !== device_bytes) throw new FormatError('device state', `it expands to ${raw.length} bytes, ${device_bytes} are expected`);
  return raw;
}
