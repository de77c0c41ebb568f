import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import type { z } from 'zod';
import { FormatError } from './format-error.js';

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Bytes hashed before the event loop has its turn: below a millisecond, for a cut may be waiting. */
const sliceBytes = 1024 * 1024;

/** The same, letting other work run in between. */
export async function sha256InTurns(bytes: Buffer): Promise<string> {
  const hash = createHash('sha256');
  for (let done = 0; done < bytes.length; done += sliceBytes) {
    if (done > 0) await setImmediate();
    hash.update(bytes.subarray(done, done + sliceBytes));
  }
  return hash.digest('hex');
}

/** One buffer of several, and the CRC-32 of each, letting other work run in between: a full segment has the size of a memory. */
export async function joinInTurns(parts: readonly Buffer[]): Promise<{ bytes: Buffer; crcs: number[] }> {
  // Slow: not of the shared pool, so that its pages are first touched slice by slice.
  const bytes = Buffer.allocUnsafeSlow(parts.reduce((sum, { length }) => sum + length, 0));
  const crcs: number[] = [];
  let at = 0;
  for (const part of parts) {
    let crc = crc32(Buffer.alloc(0));
    for (let done = 0; done < part.length; done += sliceBytes) {
      if (done > 0) await setImmediate();
      const slice = part.subarray(done, done + sliceBytes);
      crc = crc32(slice, crc);
      at += slice.copy(bytes, at);
    }
    crcs.push(crc);
  }
  return { bytes, crcs };
}

/** JSON with sorted keys, no spaces and no numbers but safe integers: one value has one encoding, so that its hash names it. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, each]) => each !== undefined).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, each]) => `${JSON.stringify(key)}:${canonicalJson(each)}`).join(',')}}`;
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new TypeError(`${value} has no canonical encoding`);
  return JSON.stringify(value);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Parses canonical JSON of one schema; anything else is a FormatError of `part`. */
export function parseCanonical<T extends z.ZodType>(schema: T, bytes: Buffer, part: string, bytesMax: number): z.infer<T> {
  if (bytes.length > bytesMax) throw new FormatError(part, `${bytes.length} bytes, at most ${bytesMax} are allowed`);
  let text: string;
  let value: unknown;
  try {
    text = utf8.decode(bytes);
    value = JSON.parse(text);
  } catch (error) {
    throw new FormatError(part, (error as Error).message);
  }
  const parsed = checked(schema, value, part);
  if (canonicalJson(parsed) !== text) throw new FormatError(part, 'not in canonical form');
  return parsed;
}

/** The value, if it fits the schema; else a FormatError that names the first field at fault. */
export function checked<T extends z.ZodType>(schema: T, value: unknown, part: string): z.infer<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new FormatError(part, `${issue?.path.join('.') || 'value'}: ${issue?.message ?? 'invalid'}`);
}
