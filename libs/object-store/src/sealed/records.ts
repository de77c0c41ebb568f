import { createCipheriv, createDecipheriv, randomBytes, type KeyObject } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { ObjectCorrupt } from '../errors.js';
import { limits } from '../limits.js';
import { room } from '../room.js';
import { headBytes, makeHead, placeOf, recordBytes, recordsOf, saltBytes, sealedBytes, tagBytes, type ObjectSecrets } from './format.js';

const cipher = 'aes-256-gcm';
const turnRecords = limits.seal_turn_bytes / recordBytes;

/** A record's number and whether it is the last: never twice under one object's secrets. */
function nonce(at: number, last: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(at, 7);
  bytes.writeUInt8(last ? 1 : 0, 11);
  return bytes;
}

/** The stored object for `plain` at `path`, under a key of its own that follows from `key` and a random salt. `salt` is given by tests only. */
export async function seal(plain: Buffer, path: string, key: { readonly id: string; readonly secret: KeyObject }, salt: Buffer = randomBytes(saltBytes)): Promise<Buffer> {
  const { bytes: head, secrets } = makeHead({ key: key.id, bytes: plain.length, salt }, path, key.secret);
  const sealed = Buffer.allocUnsafeSlow(sealedBytes(plain.length));
  head.copy(sealed);
  const count = recordsOf(plain.length);
  for (let at = 0; at < count; at++) {
    if (at > 0 && at % turnRecords === 0) await turn();
    const record = createCipheriv(cipher, secrets.record, nonce(at, at === count - 1)).setAAD(secrets.bound);
    const from = at * recordBytes;
    const end = placeOf(at) + record.update(plain.subarray(from, from + recordBytes)).copy(sealed, placeOf(at));
    record.final();
    record.getAuthTag().copy(sealed, end);
  }
  return sealed;
}

/** Opens records `first` and on from their stored bytes. Throws ObjectCorrupt with the number of one that was changed or is in another's place. */
export async function openRecords(stored: Buffer, first: number, path: string, secrets: ObjectSecrets): Promise<Buffer> {
  const count = recordsOf(secrets.head.bytes);
  const inside = Math.ceil(stored.length / (recordBytes + tagBytes));
  const plain = room(stored.length - inside * tagBytes);
  for (let done = 0; done < inside; done++) {
    if (done > 0 && done % turnRecords === 0) await turn();
    const at = first + done;
    const bytes = stored.subarray(placeOf(done) - headBytes, placeOf(done + 1) - headBytes);
    const record = createDecipheriv(cipher, secrets.record, nonce(at, at === count - 1), { authTagLength: tagBytes }).setAAD(secrets.bound);
    record.setAuthTag(bytes.subarray(bytes.length - tagBytes));
    record.update(bytes.subarray(0, bytes.length - tagBytes)).copy(plain, done * recordBytes);
    try {
      record.final();
    } catch {
      throw new ObjectCorrupt(path, `record ${at} of ${count} is not what was sealed`);
    }
  }
  return plain;
}
