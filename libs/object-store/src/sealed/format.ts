import { createHmac, hkdfSync, timingSafeEqual, type KeyObject } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { ObjectCorrupt } from '../errors.js';

// Layout: docs/formats/sealed-object.md.
const magic = Buffer.from('VCFTSLD\n');
const version = 1;
const keyIdBytes = 16;
const keyId = /^[a-z0-9][a-z0-9-]{0,15}$/;
/** A record's number has 32 bits. */
const longest = 2 ** 32 * 65_536;
const secretsBytes = 64;
const info = 'virtcft sealed object 1';
const [at_record, at_length, at_key, at_salt, at_crc, at_mac] = [12, 16, 24, 40, 72, 76] as const;

export const saltBytes = 32;
export const headBytes = 108;
/** Plain bytes of every record but the last. */
export const recordBytes = 65_536;
/** What authentication adds to each. */
export const tagBytes = 16;
const sealedRecordBytes = recordBytes + tagBytes;

export const isKeyId = (id: string): boolean => keyId.test(id);

export interface Head {
  readonly key: string;
  /** Of the plain object. */
  readonly bytes: number;
  readonly salt: Buffer;
}

/** What one object's records are sealed with. `bound` is what every record is bound to: the whole head, and where the object lies. */
export interface ObjectSecrets { readonly head: Head; readonly record: Buffer; readonly bound: Buffer }

/** Records of an object of that many plain bytes; an empty one has one, too. */
export const recordsOf = (bytes: number): number => Math.max(1, Math.ceil(bytes / recordBytes));
export const sealedBytes = (bytes: number): number => headBytes + bytes + recordsOf(bytes) * tagBytes;
/** Where record `at` begins in the stored object. */
export const placeOf = (at: number): number => headBytes + at * sealedRecordBytes;

/** Plain bytes of a sealed object of that many stored bytes; null when none has so many. */
export function plainBytes(stored: number): number | null {
  const body = stored - headBytes;
  if (body < tagBytes) return null;
  const bytes = body - Math.ceil(body / sealedRecordBytes) * tagBytes;
  return bytes >= 0 && sealedBytes(bytes) === stored ? bytes : null;
}

export const isSealed = (bytes: Buffer): boolean => bytes.subarray(0, magic.length).equals(magic);

/** The head of a new object at `path`, and what its records are sealed with. */
export function makeHead(head: Head, path: string, key: KeyObject): { bytes: Buffer; secrets: ObjectSecrets } {
  const bytes = Buffer.alloc(headBytes);
  magic.copy(bytes);
  bytes.writeUInt16LE(version, 8);
  bytes.writeUInt32LE(recordBytes, at_record);
  bytes.writeBigUInt64LE(BigInt(head.bytes), at_length);
  bytes.write(head.key, at_key, 'latin1');
  head.salt.copy(bytes, at_salt);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, at_crc)), at_crc);
  const { record, mac } = derive(head, path, key, bytes);
  mac.copy(bytes, at_mac);
  return { bytes, secrets: { head, record, bound: Buffer.concat([bytes, Buffer.from(path)]) } };
}

/** What a head says, not authenticated yet. The checksum tells a damaged head from one of a key that is not known. Throws ObjectCorrupt. */
export function parseHead(bytes: Buffer, path: string): Head {
  const refuse = (reason: string): never => { throw new ObjectCorrupt(path, `its head is damaged: ${reason}`); };
  if (bytes.length < headBytes) refuse(`${bytes.length} bytes`);
  if (!isSealed(bytes)) refuse('it has another magic');
  if (crc32(bytes.subarray(0, at_crc)) !== bytes.readUInt32LE(at_crc)) refuse('its checksum is wrong');
  if (bytes.readUInt16LE(8) !== version || bytes.readUInt16LE(10) !== 0 || bytes.readUInt32LE(at_record) !== recordBytes) refuse('it is of a version that this one does not read');
  const length = bytes.readBigUInt64LE(at_length);
  const key = bytes.toString('latin1', at_key, at_key + keyIdBytes).replace(/\0+$/, '');
  if (length > BigInt(longest) || !isKeyId(key)) refuse('its fields are out of bounds');
  return { key, bytes: Number(length), salt: Buffer.from(bytes.subarray(at_salt, at_salt + saltBytes)) };
}

/** Authenticates a head with the key that it names. Throws ObjectCorrupt when it is not of this key, or not of this place. */
export function openHead(bytes: Buffer, path: string, key: KeyObject): ObjectSecrets {
  const head = parseHead(bytes, path);
  const { record, mac } = derive(head, path, key, bytes);
  if (!timingSafeEqual(mac, bytes.subarray(at_mac, headBytes))) throw new ObjectCorrupt(path, `its head was not sealed with key ${head.key} for this place: it was changed, moved here, or there are two keys of one name`);
  return { head, record, bound: Buffer.concat([bytes.subarray(0, headBytes), Buffer.from(path)]) };
}

function derive(head: Head, path: string, key: KeyObject, bytes: Buffer): { record: Buffer; mac: Buffer } {
  const secrets = Buffer.from(hkdfSync('sha256', key, head.salt, info, secretsBytes));
  const mac = createHmac('sha256', secrets.subarray(32)).update(bytes.subarray(0, at_mac)).update(path).digest();
  return { record: secrets.subarray(0, 32), mac };
}
