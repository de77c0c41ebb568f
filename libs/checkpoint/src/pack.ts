import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { ClusterId, Epoch, Generation, Incarnation, Name, Sha256 } from '@virtcft/events';
import { canonicalJson, checked, parseCanonical, sha256 } from './canonical.js';
import { decodeChannelState, encodeChannelState } from './channel-state.js';
import type { ChannelFrame } from './channel-state.js';
import { FormatError } from './format-error.js';
import { packKey, parsePackKey } from './keys.js';
import { limits } from './limits.js';
import { sourcesOf } from './references.js';
import { decodeSegment } from './segment.js';
import type { EncodedSegment, Segment } from './segment.js';

/** Where a segment lies of which pages are referred to: in a pack of an earlier epoch of the same generation. */
export const PackReference = z.strictObject({
  pack: z.string().max(limits.packKeyCharacters), segment: Sha256, offset: z.int().min(0).max(Number.MAX_SAFE_INTEGER), length: z.int().min(64).max(Number.MAX_SAFE_INTEGER),
});
export type PackReference = z.infer<typeof PackReference>;

/** What leads a pack: enough to plan a restore, and to read one segment by range. Layout of the bytes: docs/formats/pack.md. */
export const PackIndex = z.strictObject({
  format: z.literal('virtcft/pack/1'),
  cluster: ClusterId, generation: Generation, incarnation: Incarnation, epoch: Epoch.max(limits.epoch), host: Name,
  /** In the order of their bytes, which follow one another without a gap. */
  segments: z.array(z.strictObject({
    vm: Name, hash: Sha256, parent: Sha256.nullable(), kind: z.enum(['full', 'delta']), bytes: z.int().min(64).max(Number.MAX_SAFE_INTEGER),
  })).max(limits.packSegments),
  /** Comes after the segments. */
  channel: z.strictObject({ frames: z.int().min(0).max(limits.channelFrames), bytes: z.int().min(0), hash: Sha256 }),
  /** Hosts whose channel was declared down at this cut: their frames in flight are lost (and sent again by the guests). */
  down: z.array(Name).max(256),
  /** What its segments refer to, each once; absent: nothing. */
  references: z.array(PackReference).min(1).max(limits.packReferences).optional(),
});
export type PackIndex = z.infer<typeof PackIndex>;

/** One host's whole part of an epoch (R15). */
export interface PackContent {
  readonly cluster: string;
  readonly generation: number;
  readonly incarnation: string;
  readonly epoch: number;
  readonly host: string;
  readonly segments: readonly EncodedSegment[];
  readonly channel: readonly ChannelFrame[];
  readonly down: readonly string[];
  /** Of all segments that sections of these refer to. */
  readonly references?: readonly PackReference[];
}
export interface Pack extends Omit<PackContent, 'segments'> {
  readonly key: string;
  readonly hash: string;
  readonly bytes: Buffer;
  readonly segments: readonly Segment[];
  readonly references: readonly PackReference[];
}

const magic = Buffer.from('VCFTPAK\n');
const version = 1;
const preludeBytes = 32;
/** Bytes of a pack that say how long its index is. */
export const packPreludeBytes = preludeBytes;

/** A pack whose bytes are those of `parts`, one after the other. */
export interface PackParts {
  readonly key: string;
  readonly hash: string;
  readonly parts: readonly Buffer[];
  readonly total_bytes: number;
  /** Of the segments, in their order. */
  readonly places: readonly Place[];
}

/** The pack in one buffer; see `packParts`. */
export function encodePack(content: PackContent): { key: string; hash: string; bytes: Buffer } {
  const { key, hash, parts } = packParts(content);
  return { key, hash, bytes: Buffer.concat(parts) };
}

/**
 * The pack's bytes, copying and hashing no segment again: the pack's hash is that of its head (prelude and index), which holds the length
 * and the hash of every part. Throws FormatError when a segment is not of this pack.
 */
export function packParts(content: PackContent): PackParts {
  const { cluster, generation, incarnation, epoch, host, segments } = content;
  for (const { header } of segments) checkBelongs(content, header);
  const channel = encodeChannelState(content.channel);
  const index = checked(PackIndex, {
    format: 'virtcft/pack/1', cluster, generation, incarnation, epoch, host, down: content.down,
    segments: segments.map(({ header: { vm, parent, kind }, hash, bytes }) => ({ vm, hash, parent, kind, bytes: bytes.length })),
    channel: { frames: content.channel.length, bytes: channel.length, hash: sha256(channel) },
    ...(content.references === undefined || content.references.length === 0 ? {} : { references: content.references }),
  }, 'pack index');
  checkReferences(index);
  const json = Buffer.from(canonicalJson(index));
  if (json.length > limits.packIndexBytes) throw new FormatError('pack index', `${json.length} bytes, at most ${limits.packIndexBytes} are allowed`);
  const head = Buffer.concat([Buffer.alloc(preludeBytes), json]);
  const parts = [head, ...segments.map((segment) => segment.bytes), channel];
  const total_bytes = parts.reduce((sum, part) => sum + part.length, 0);
  magic.copy(head);
  head.writeUInt16LE(version, 8);
  head.writeUInt32LE(json.length, 12);
  head.writeBigUInt64LE(BigInt(total_bytes), 16);
  head.writeUInt32LE(crc32(json), 24);
  head.writeUInt32LE(crc32(head.subarray(0, 28)), 28);
  const hash = sha256(head);
  return { key: packKey({ cluster, generation, epoch, host, hash }), hash, parts, total_bytes, places: placesOf(head.length, index).segments };
}

/** Checks every byte, the segments' too. Throws FormatError that names the part at fault. */
export function decodePack(bytes: Buffer, expectedHash?: string): Pack {
  const { index, places, total_bytes, hash } = decodePackIndex(bytes, expectedHash);
  if (total_bytes !== bytes.length) throw new FormatError('pack', `${bytes.length} bytes, it had ${total_bytes}`);
  const segments = index.segments.map((fact, at) => {
    const { offset, length } = places.segments[at] as Place;
    const segment = decodeSegment(bytes.subarray(offset, offset + length), fact.hash);
    checkBelongs(index, segment.header);
    const { vm, parent, kind } = segment.header;
    if (vm !== fact.vm || parent !== fact.parent || kind !== fact.kind) throw new FormatError('pack index', `it tells other things of segment ${at} than its header`);
    return segment;
  });
  const state = bytes.subarray(places.channel.offset);
  if (sha256(state) !== index.channel.hash) throw new FormatError('channel state', 'its hash differs');
  const channel = decodeChannelState(state, index.channel.frames);
  const { cluster, generation, incarnation, epoch, host, down, references = [] } = index;
  const [wanted, told] = [new Set(segments.flatMap(({ pages }) => sourcesOf(pages))), new Set(references.map(({ segment }) => segment))];
  if (wanted.size !== told.size || [...wanted].some((name) => !told.has(name))) throw new FormatError('pack index', 'its references are not those of its segments');
  return { key: packKey({ ...index, hash }), hash, bytes, cluster, generation, incarnation, epoch, host, segments, channel, down, references };
}

export interface Place {
  readonly offset: number;
  readonly length: number;
}
export interface PlacedIndex {
  readonly index: PackIndex;
  /** Where the parts are in the pack. */
  readonly places: { readonly segments: readonly Place[]; readonly channel: Place };
  readonly total_bytes: number;
  readonly hash: string;
}

/** How many of a pack's first bytes hold its index; `head` is its first 32 bytes or more. */
export function packHeadBytes(head: Buffer): number {
  const prelude = 'pack prelude';
  if (head.length < preludeBytes) throw new FormatError(prelude, `${head.length} bytes, it has ${preludeBytes}`);
  if (!head.subarray(0, 8).equals(magic)) throw new FormatError(prelude, 'this is no pack');
  if (crc32(head.subarray(0, 28)) !== head.readUInt32LE(28)) throw new FormatError(prelude, 'its checksum differs');
  if (head.readUInt16LE(8) !== version) throw new FormatError(prelude, `version ${head.readUInt16LE(8)} is not known here`);
  if (head.readUInt16LE(10) !== 0) throw new FormatError(prelude, 'reserved bytes are not zero');
  if (head.readUInt32LE(12) > limits.packIndexBytes) throw new FormatError('pack index', `${head.readUInt32LE(12)} bytes, at most ${limits.packIndexBytes} are allowed`);
  return preludeBytes + head.readUInt32LE(12);
}

/** Reads the index from a pack's first bytes, as many as `packHeadBytes` says or more. */
export function decodePackIndex(head: Buffer, expectedHash?: string): PlacedIndex {
  const end = packHeadBytes(head);
  if (head.length < end) throw new FormatError('pack index', `cut short at ${head.length} of ${end} bytes`);
  const json = head.subarray(preludeBytes, end);
  if (crc32(json) !== head.readUInt32LE(24)) throw new FormatError('pack index', 'its checksum differs');
  const hash = sha256(head.subarray(0, end));
  if (expectedHash !== undefined && hash !== expectedHash) throw new FormatError('pack index', `its hash is ${hash}, ${expectedHash} is expected`);
  const index = parseCanonical(PackIndex, json, 'pack index', limits.packIndexBytes);
  if (new Set(index.segments.map(({ vm }) => vm)).size !== index.segments.length) throw new FormatError('pack index', 'two segments of one VM');
  const total_bytes = Number(head.readBigUInt64LE(16));
  checkReferences(index);
  const places = placesOf(end, index);
  const partsEnd = places.channel.offset + places.channel.length;
  if (partsEnd !== total_bytes) throw new FormatError('pack index', `its parts end at ${partsEnd}, the pack has ${total_bytes} bytes`);
  return { index, places, total_bytes, hash };
}

function placesOf(headBytes: number, index: PackIndex): PlacedIndex['places'] {
  let offset = headBytes;
  const segments = index.segments.map(({ bytes }) => {
    offset += bytes;
    return { offset: offset - bytes, length: bytes };
  });
  return { segments, channel: { offset, length: index.channel.bytes } };
}

/** Only into what an earlier epoch of this generation stored: so no two packs need each other. */
function checkReferences({ cluster, generation, epoch, references = [] }: PackIndex): void {
  for (const { pack } of references) {
    const named = parsePackKey(pack);
    if (named === null || named.cluster !== cluster || named.generation !== generation || named.epoch >= epoch) throw new FormatError('pack index', `"${pack}" is no pack of an earlier epoch of this generation`);
  }
  if (new Set(references.map(({ segment }) => segment)).size !== references.length) throw new FormatError('pack index', 'two references to one segment');
}

function checkBelongs(pack: Pick<PackContent, 'cluster' | 'generation' | 'incarnation' | 'epoch'>, header: Segment['header']): void {
  for (const field of ['cluster', 'generation', 'incarnation', 'epoch'] as const) {
    if (header[field] !== pack[field]) throw new FormatError('pack', `the segment of "${header.vm}" has ${field} ${header[field]}, the pack ${pack[field]}`);
  }
}
