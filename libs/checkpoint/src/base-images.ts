import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { chunkBytes } from './image.js';
import type { Image } from './image.js';
import type { ObjectSource } from './object-source.js';
import { imageKey } from './keys.js';
import { checkSize, fillFromChunks, readImage, writeImageTo } from './read-image.js';
import { readExactly, writeSparse } from './sparse-file.js';

/** Where a fold gets the content that memories and disks begin with. */
export interface ImageSource {
  /**
   * Makes `path` a raw file of the image, the caller's own. `once`: no other VM will want it, as with a memory's. Throws CutBroken when an object of it is missing or
   * damaged, or it has not `bytes`.
   */
  materialise(hash: string, bytes: number, path: string, once?: 'once'): Promise<void>;
}

/** Straight from the store, each time anew. */
export const storedImages = (source: ObjectSource, cluster: string): ImageSource => ({
  materialise: async (hash, bytes, path) => writeImageTo(source, cluster, await readImage(source, cluster, hash, bytes), path),
});

interface Kept {
  readonly path: string;
  readonly ready: Promise<Image>;
  /** Data in the file, once it is known; the rest are holes. */
  bytes: number;
  /** Copies being made. */
  readers: number;
  /** Its fetch has ended, well or not. */
  over: boolean;
}

/** A cluster's base images, fetched once and kept as files, so that many disks of one image do not ask the store for it again. */
export class BaseImages implements ImageSource {
  /** The one used last is the last. */
  readonly #kept = new Map<string, Kept>();
  #fetches = 0;

  private constructor(readonly folder: string, readonly source: ObjectSource, readonly cluster: string, readonly bound_bytes: number) {}

  /** `folder` is its own: what is in it is removed, for nothing says that it is whole. Keeps at most `bound_bytes` of data. */
  static async open(options: { readonly folder: string; readonly source: ObjectSource; readonly cluster: string; readonly bound_bytes: number }): Promise<BaseImages> {
    await rm(options.folder, { recursive: true, force: true });
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    return new BaseImages(options.folder, options.source, options.cluster, options.bound_bytes);
  }

  async materialise(hash: string, bytes: number, path: string, once?: 'once'): Promise<void> {
    if (once !== undefined) return this.#hand(hash, bytes, path);
    const kept = this.#kept.get(hash) ?? this.#fetch(hash);
    this.#kept.delete(hash);
    this.#kept.set(hash, kept);
    kept.readers++;
    try {
      await copy(checkSize(await kept.ready, bytes, imageKey({ cluster: this.cluster, hash })), kept.path, path);
    } catch (error) {
      // Whatever was wrong with it, it is fetched anew when it is asked for again.
      if (this.#kept.get(hash) === kept) this.#kept.delete(hash);
      throw error;
    } finally {
      kept.readers--;
      if (kept.readers === 0 && this.#kept.get(hash) !== kept) await rm(kept.path, { force: true });
      await this.#bound();
    }
  }

  /** Begins to fetch an image for who will want it `once`; true when it is here. Throws what the fetch failed with, and fetches anew when it is asked again. */
  async prepare(hash: string): Promise<boolean> {
    const kept = this.#kept.get(hash) ?? this.#fetch(hash);
    this.#kept.set(hash, kept);
    if (!kept.over) return false;
    try {
      await kept.ready;
      return true;
    } catch (error) {
      this.#kept.delete(hash);
      throw error;
    }
  }

  /** The file itself, where it was prepared; nothing of it is kept. */
  async #hand(hash: string, bytes: number, path: string): Promise<void> {
    const kept = this.#kept.get(hash);
    if (kept === undefined || kept.readers > 0) return storedImages(this.source, this.cluster).materialise(hash, bytes, path);
    this.#kept.delete(hash);
    checkSize(await kept.ready, bytes, imageKey({ cluster: this.cluster, hash }));
    await rename(kept.path, path);
  }

  /** Every fetch has a file of its own: nobody reads one that is being made anew. */
  #fetch(hash: string): Kept {
    const path = join(this.folder, `${hash}-${this.#fetches++}.raw`);
    const kept: Kept = { path, bytes: 0, readers: 0, over: false, ready: this.#fill(hash, path, (bytes) => { kept.bytes = bytes; }) };
    const over = (): void => { kept.over = true; };
    kept.ready.then(over, over);
    return kept;
  }

  async #fill(hash: string, path: string, holds: (bytes: number) => void): Promise<Image> {
    const image = await readImage(this.source, this.cluster, hash);
    holds(image.chunks.filter((chunk) => chunk !== null).length * chunkBytes);
    await writeImageTo(this.source, this.cluster, image, path);
    return image;
  }

  async #bound(): Promise<void> {
    let held_bytes = [...this.#kept.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    const dropped: string[] = [];
    for (const [hash, { path, bytes, readers }] of [...this.#kept]) {
      if (held_bytes <= this.bound_bytes) break;
      if (readers > 0) continue;
      this.#kept.delete(hash);
      held_bytes -= bytes;
      dropped.push(path);
    }
    await Promise.all(dropped.map((path) => rm(path, { force: true })));
  }
}

async function copy(image: Image, from: string, to: string): Promise<void> {
  const file = await open(from, 'r');
  try {
    await fillFromChunks(image, to, async (copied, { position, length }) => writeSparse(copied, await readExactly(file, position, length), position));
  } finally {
    await file.close();
  }
}
