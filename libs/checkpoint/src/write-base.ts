import { open } from 'node:fs/promises';
import { chunkLengthOf, encodeBase, memoryChunkBytes } from './base.js';
import type { Base, Chunked } from './base.js';
import { chunkBytes, decodeChunk, encodeChunk } from './image.js';
import type { ContentHold } from './content-uses.js';
import { chunkKey } from './keys.js';
import { concerning, CutBroken } from './object-source.js';
import type { ReplicaFold } from './replica-fold.js';
import { readExactly } from './sparse-file.js';
import { putChunk } from './store-chunk.js';
import type { ObjectTarget } from './store-chunk.js';

export interface BaseOptions {
  /** Keeps what it finds in the store from being removed before the base names it. */
  readonly hold: ContentHold;
  /** Told of bytes before they are read of the fold, and of bytes before they are put; goes on when it resolves. What it throws ends the writing. */
  readonly pace?: (bytes: { readonly read_bytes: number; readonly written_bytes: number }) => Promise<void> | void;
  /** Chunks of bases that were written before by this process, and proved then. */
  readonly proved?: Set<string>;
  readonly chunk_bytes?: number;
}

export interface WrittenBase {
  readonly key: string;
  readonly base: Base;
  readonly chunks: number;
  /** That were not in the store. */
  readonly new_chunks: number;
  /** What was put: new chunks and the base object. */
  readonly written_bytes: number;
}

/**
 * Writes what one VM is at the cut of this fold as a base: its chunks first, each read back from the store and compared with the fold's content byte by
 * byte unless it was so before, then the object that names them. So a base that is in the store is whole, and equals what the chain folds to. The fold
 * must stay where it is meanwhile. Throws CutBroken for a chunk of the store that is not what it should be.
 */
export async function writeBase(store: ObjectTarget, fold: ReplicaFold, vm: string, options: BaseOptions): Promise<WrittenBase> {
  const view = await fold.restoreView(vm);
  const writer = new ChunkWriter(store, fold.cluster, options);
  try {
    const { generation, epoch, hash: cut } = view.cut;
    const device = await view.device();
    const base = {
      cluster: fold.cluster, vm, generation, epoch, cut, segment: { hash: view.segment, epoch: view.epoch }, runState: view.runState, identity: view.identity,
      memory: await writer.file(fold.memoryPath(vm), view.memory_bytes, options.chunk_bytes ?? memoryChunkBytes, await view.memory.extents()),
      device: await writer.content({ bytes: device.length, chunk_bytes: chunkBytes }, async (at, length) => device.subarray(at, at + length)),
      disks: [] as Base['disks'],
    };
    for (const { name, bytes, image } of view.disks) base.disks.push({ name, image, ...await writer.file(fold.diskPath(vm, name), bytes, chunkBytes, await view.disk(name).extents()) });
    const { key, bytes } = encodeBase(base);
    await options.hold.use(key);
    await options.pace?.({ read_bytes: 0, written_bytes: bytes.length });
    if (await store.put(key, bytes) === 'created') writer.written_bytes += bytes.length;
    return { key, base: { format: 'virtcft/base/1', ...base }, chunks: writer.chunks, new_chunks: writer.new_chunks, written_bytes: writer.written_bytes };
  } finally {
    view.close();
  }
}

class ChunkWriter {
  chunks = 0;
  new_chunks = 0;
  written_bytes = 0;
  readonly #mine = new Set<string>();
  constructor(readonly store: ObjectTarget, readonly cluster: string, readonly options: BaseOptions) {}

  /** `extents`: pages that hold data, [first, count] pairs, flattened. */
  async file(path: string, bytes: number, chunk_bytes: number, extents: Uint32Array): Promise<Chunked & { chunks: (string | null)[] }> {
    const file = await open(path, 'r');
    try {
      const holds = holding(extents, chunk_bytes);
      return await this.content({ bytes, chunk_bytes }, async (at, length) => (holds.has(at / chunk_bytes) ? readExactly(file, at, length) : null));
    } finally {
      await file.close();
    }
  }

  /** `read` gives null where all is zero. */
  async content(of: Pick<Chunked, 'bytes' | 'chunk_bytes'>, read: (at: number, length: number) => Promise<Buffer | null>): Promise<Chunked & { chunks: (string | null)[] }> {
    const chunks: (string | null)[] = [];
    for (let at = 0; at * of.chunk_bytes < of.bytes; at++) {
      const raw = await read(at * of.chunk_bytes, chunkLengthOf(of, at));
      if (raw !== null) await this.options.pace?.({ read_bytes: raw.length, written_bytes: 0 });
      chunks.push(raw === null ? null : await this.#store(raw));
    }
    return { ...of, chunks };
  }

  async #store(raw: Buffer): Promise<string | null> {
    const chunk = await encodeChunk(raw);
    if (chunk === null) return null;
    const { hash } = chunk;
    if (this.#mine.has(hash)) return hash;
    this.#mine.add(hash);
    this.chunks++;
    const key = chunkKey({ cluster: this.cluster, hash });
    await this.options.hold.use(key);
    if (await this.store.stat(key) === null) {
      const stored = await chunk.stored();
      await this.options.pace?.({ read_bytes: 0, written_bytes: stored.length });
      if (await putChunk(this.store, key, hash, stored) === 'created') {
        this.new_chunks++;
        this.written_bytes += stored.length;
      }
    } else if (this.options.proved?.has(hash) === true) {
      return hash;
    }
    await concerning(key, async () => {
      const found = await decodeChunk(await this.store.get(key), hash, raw.length);
      if (!found.equals(raw)) throw new CutBroken(key, 'it holds other bytes than the fold');
    });
    this.options.proved?.add(hash);
    return hash;
  }
}

/** Numbers of the chunks that hold data. */
function holding(extents: Uint32Array, chunk_bytes: number): Set<number> {
  const holds = new Set<number>();
  for (let at = 0; at + 1 < extents.length; at += 2) {
    const [first, count] = [extents[at] ?? 0, extents[at + 1] ?? 0];
    for (let chunk = Math.floor(first * 4096 / chunk_bytes); chunk * chunk_bytes < (first + count) * 4096; chunk++) holds.add(chunk);
  }
  return holds;
}
