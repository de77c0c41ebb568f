import { open, type FileHandle } from 'node:fs/promises';
import { chunkBytes, encodeChunk, encodeImage, readExactly } from '@virtcft/checkpoint';
import { limits } from '../limits.js';
import { pause } from '../pause.js';
import type { ReplicaClient } from './replica-client.js';
import { ReplicaStoreRefused, ReplicaStoreUnavailable } from './replica-store-errors.js';

export interface UploadOptions {
  readonly signal: AbortSignal;
  /** Told after every chunk: bytes of the file that are stored, rising to all of it. */
  readonly onProgress?: (done_bytes: number) => void;
}

export type ImageStore = Pick<ReplicaClient, 'hasChunk' | 'putChunk' | 'putImage'>;

/** See `ReplicaClient.uploadImage`. */
export async function uploadImage(store: ImageStore, cluster: string, path: string, bytes: number, { signal, onProgress }: UploadOptions): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size !== bytes) throw new Error(`"${path}" has ${size} bytes, ${bytes} are expected`);
    for (let attempt = 1; ; attempt++) {
      try {
        return await uploadOnce(store, cluster, file, bytes, { signal, ...(onProgress ? { onProgress } : {}) });
      } catch (error) {
        // A chunk that was found there was removed as garbage before the image named it: all are looked for again.
        if (!(error instanceof ReplicaStoreRefused) || error.status !== 409 || attempt === limits.image_attempts) throw error;
      }
    }
  } finally {
    await file.close();
  }
}

async function uploadOnce(store: ImageStore, cluster: string, file: FileHandle, bytes: number, { signal, onProgress }: UploadOptions): Promise<string> {
  const chunks: (string | null)[] = Array.from({ length: Math.ceil(bytes / chunkBytes) }, () => null);
  const upload = new ChunkUpload(store, cluster, signal);
  const numbers = upTo(chunks.length);
  let done_bytes = 0;
  const worker = async (): Promise<void> => {
    for (const at of numbers) {
      signal.throwIfAborted();
      const length = Math.min(chunkBytes, bytes - at * chunkBytes);
      chunks[at] = await upload.put(await readExactly(file, at * chunkBytes, length));
      done_bytes += length;
      onProgress?.(done_bytes);
    }
  };
  const workers = Array.from({ length: limits.upload_chunks }, worker);
  // The file is closed when nobody reads it any more; the first failure is told.
  await Promise.allSettled(workers);
  await Promise.all(workers);
  return upload.image(bytes, chunks);
}

/** A generator is closed by the first failure of who takes from it, and so ends the others. */
function* upTo(count: number): Generator<number> {
  for (let at = 0; at < count; at++) yield at;
}

/** The chunks of one image, and the image that they make, on their way to the store; whatever is there already is not sent. Waits while the store is away. */
export class ChunkUpload {
  /** Bytes of objects that were sent. */
  sent_bytes = 0;
  /** In the store: images repeat themselves. */
  private readonly stored = new Set<string>();

  constructor(private readonly store: ImageStore, private readonly cluster: string, private readonly signal: AbortSignal) {}

  /** Its hash when it is stored; null when it is all zero. */
  async put(raw: Buffer): Promise<string | null> {
    const chunk = await encodeChunk(raw);
    if (chunk === null) return null;
    const { hash } = chunk;
    if (!this.stored.has(hash) && !await patiently(this.signal, () => this.store.hasChunk(this.cluster, hash, this.signal))) {
      const bytes = await chunk.stored();
      await patiently(this.signal, () => this.store.putChunk(this.cluster, hash, bytes, this.signal));
      this.sent_bytes += bytes.length;
    }
    this.stored.add(hash);
    return hash;
  }

  /** Asks until the store answers, as all of this does. */
  patiently<T>(ask: () => Promise<T>): Promise<T> { return patiently(this.signal, ask); }

  /** Its hash when it is durable; the chunks are already. */
  async image(bytes: number, chunks: (string | null)[]): Promise<string> {
    const image = encodeImage({ bytes, chunks });
    await patiently(this.signal, () => this.store.putImage(this.cluster, image.hash, image.bytes, this.signal));
    return image.hash;
  }
}

/** Asks until the store answers (R24), with growing waits; an abort ends it with the signal's reason. */
async function patiently<T>(signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
  for (let wait_ms: number = limits.upload_retry_min_ms; ; wait_ms = Math.min(wait_ms * 2, limits.upload_retry_max_ms)) {
    signal.throwIfAborted();
    try {
      return await ask();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ReplicaStoreUnavailable)) throw error;
    }
    await pause(wait_ms, signal);
  }
}
