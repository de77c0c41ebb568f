import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { chunkLengthOf } from './base.js';
import type { Chunked } from './base.js';
import { decodeChunk, decodeChunkTo, parseImage } from './image.js';
import type { Image } from './image.js';
import { chunkKey, imageKey } from './keys.js';
import { limits } from './limits.js';
import { concerning, CutBroken } from './object-source.js';
import type { ObjectSource } from './object-source.js';
import type { SegmentHeader } from './segment.js';

/** The images that a chain beginning with this segment stands on: its memory's and its disks', where there are such. */
export const imagesOf = ({ image, memory_bytes, disks }: Pick<SegmentHeader, 'image' | 'memory_bytes' | 'disks'>): { readonly hash: string; readonly bytes: number }[] => [
  ...(image === undefined ? [] : [{ hash: image, bytes: memory_bytes }]),
  ...disks.flatMap((disk) => (disk.image === null ? [] : [{ hash: disk.image, bytes: disk.bytes }])),
];

/** Throws CutBroken when the image object is missing, damaged, or of another size than `bytes`, where that is known. */
export async function readImage(source: ObjectSource, cluster: string, hash: string, bytes?: number): Promise<Image> {
  const key = imageKey({ cluster, hash });
  const image = await concerning(key, async () => parseImage(await source.get(key), hash));
  return bytes === undefined ? image : checkSize(image, bytes, key);
}

/** The image, if it has the size of the disk that begins with it; else CutBroken. */
export function checkSize(image: Image, bytes: number, key: string): Image {
  if (image.bytes !== bytes) throw new CutBroken(key, `it has ${image.bytes} bytes, the disk that begins with it ${bytes}`);
  return image;
}

/** Makes `path` a raw, sparse file of the image; what was there is lost. Throws CutBroken with the key of the chunk at fault. */
export async function writeImageTo(source: ObjectSource, cluster: string, image: Chunked, path: string): Promise<void> {
  await fillFromChunks(image, path, async (file, { hash, position, length }) => {
    const key = chunkKey({ cluster, hash });
    await concerning(key, async () => {
      const stored = await source.get(key);
      await decodeChunkTo(file, position, stored, hash, length);
      source.release?.(stored);
    });
  });
}

/** The raw content of a chunk in the store. Throws CutBroken with its key. */
export async function readChunk(source: ObjectSource, cluster: string, hash: string, length: number): Promise<Buffer> {
  const key = chunkKey({ cluster, hash });
  return concerning(key, async () => decodeChunk(await source.get(key), hash, length));
}

/** Where a chunk that is not zero lies in a file. */
interface PlacedChunk { readonly hash: string; readonly position: number; readonly length: number }

/** Makes `path` a sparse file of the chunks that `write` puts into it, some at once. */
export async function fillFromChunks(image: Chunked, path: string, write: (file: FileHandle, chunk: PlacedChunk) => Promise<void>): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    await file.truncate(image.bytes);
    const chunks = placed(image);
    const writing = Array.from({ length: Math.min(limits.chunkReads, Math.ceil(limits.chunkReadBytes / image.chunk_bytes)) }, async () => {
      for (const chunk of chunks) await write(file, chunk);
    });
    // All have ended before the file is closed; the first failure is told.
    await Promise.allSettled(writing);
    await Promise.all(writing);
  } finally {
    await file.close();
  }
}

/** A generator is closed by the first failure of who takes from it, and so ends the others. */
function* placed(image: Chunked): Generator<PlacedChunk> {
  for (const [at, hash] of image.chunks.entries()) if (hash !== null) yield { hash, position: at * image.chunk_bytes, length: chunkLengthOf(image, at) };
}
