import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import { z } from 'zod';
import { Sha256 } from '@virtcft/events';
import { expandChunk, writeChunk } from '@virtcft/native';
import { canonicalJson, checked, parseCanonical, sha256, sha256InTurns } from './canonical.js';
import { FormatError } from './format-error.js';
import { limits } from './limits.js';

/** Raw bytes of every chunk of an image but its last. */
export const chunkBytes = 1024 * 1024;

/** The content of a disk before its cluster's first cut, named by its chunks. Layout: docs/formats/image.md. */
export const Image = z.strictObject({
  format: z.literal('virtcft/image/1'),
  bytes: z.int().min(4096).multipleOf(4096),
  chunk_bytes: z.literal(chunkBytes),
  /** SHA-256 of each chunk's raw content, in order; null: all zero. */
  chunks: z.array(Sha256.nullable()),
}).refine(({ bytes, chunks }) => chunks.length === Math.ceil(bytes / chunkBytes), { path: ['chunks'], message: 'not as many as the bytes give' });
export type Image = z.infer<typeof Image>;

export const chunkLength = ({ bytes }: Pick<Image, 'bytes'>, at: number): number => Math.min(chunkBytes, bytes - at * chunkBytes);

/** Hash and bytes of an image object. Throws FormatError. */
export function encodeImage(content: Pick<Image, 'bytes' | 'chunks'>): { hash: string; bytes: Buffer } {
  const bytes = Buffer.from(canonicalJson(checked(Image, { format: 'virtcft/image/1', chunk_bytes: chunkBytes, ...content }, 'image')));
  if (bytes.length > limits.imageBytes) throw new FormatError('image', `${bytes.length} bytes, at most ${limits.imageBytes} are allowed`);
  return { hash: sha256(bytes), bytes };
}

/** Throws FormatError, also when its hash is not `expectedHash`. */
export function parseImage(bytes: Buffer, expectedHash: string): Image {
  const hash = sha256(bytes);
  if (hash !== expectedHash) throw new FormatError('image', `its hash is ${hash}, ${expectedHash} is expected`);
  return parseCanonical(Image, bytes, 'image', limits.imageBytes);
}

/** Of a frame's head: a bit without meaning, the one that says that no window follows, and the window that is always written, 512 KiB. */
const frame = { descriptor_at: 4, unused: 0x10, single: 0x20, window: 0x48, window_log: 19 } as const;
const zeros = Buffer.alloc(chunkBytes);
/** What zlib takes as one piece of output, so that a chunk is one: its 16 KiB pieces were most of the time of a chunk, in calls and in garbage. */
const piece = (bytes: number): number => bytes + 4096;
const compress = promisify(zstdCompress);

/** A chunk object and its hash; null when the content is all zero, which no object stands for. Compresses off the event loop. */
export async function encodeChunk(raw: Buffer): Promise<{ hash: string; stored(): Promise<Buffer> } | null> {
  if (raw.length < 1 || raw.length > chunkBytes) throw new FormatError('chunk', `${raw.length} bytes, 1 to ${chunkBytes} are allowed`);
  if (raw.equals(zeros.subarray(0, raw.length))) return null;
  return { hash: await sha256InTurns(raw), stored: () => compress(raw, { chunkSize: piece(raw.length), params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_windowLog]: frame.window_log } }) };
}

/** The raw content of a chunk object. Throws FormatError when it is not the one that `expectedHash` names, or not `length` bytes where that is known. */
export async function decodeChunk(stored: Buffer, expectedHash: string, length?: number): Promise<Buffer> {
  checkFrame(stored);
  return expandChunk({ stored, hash: expectedHash, bytes: length ?? null }).catch(refused);
}

/** As `decodeChunk`, straight into an open file at `position`, which is zero there and stays so where the content is. */
export async function decodeChunkTo(file: { readonly fd: number }, position: number, stored: Buffer, expectedHash: string, length: number): Promise<void> {
  checkFrame(stored);
  await writeChunk({ stored, hash: expectedHash, bytes: length, fd: file.fd, position }).catch(refused);
}

const refuse = (reason: string): never => { throw new FormatError('chunk', reason); };

function refused(error: unknown): never {
  throw (error as { code?: string }).code === 'EBADCHUNK' ? new FormatError('chunk', (error as Error).message) : error;
}

/** zstd takes other values of these for the same content; a chunk has one head, so that every damage of it is found. */
function checkFrame(stored: Buffer): void {
  if (stored.length > limits.chunkStoredBytes) refuse(`${stored.length} stored bytes, at most ${limits.chunkStoredBytes} are allowed`);
  const [descriptor = 0, window = 0] = stored.subarray(frame.descriptor_at);
  if ((descriptor & frame.unused) !== 0 || ((descriptor & frame.single) === 0 && window !== frame.window)) refuse('the head of its frame is not as it is written');
}
