import { parseBase } from './base.js';
import type { Base, Chunked } from './base.js';
import { basesPrefix, parseBaseKey } from './keys.js';
import { concerning, CutBroken } from './object-source.js';
import type { ObjectSource } from './object-source.js';
import { readChunk, writeImageTo } from './read-image.js';

/** A base or a chunk of it is missing or damaged: what it stands for may still be read along the chain, if that is there. */
export class BaseBroken extends CutBroken {
  constructor(readonly base: string, { key, reason, cause }: CutBroken) {
    super(key, reason, cause);
  }
}

/** A base that was read, where a fold may begin. */
export interface BaseStart {
  readonly key: string;
  readonly base: Base;
  /** Makes `path` a raw, sparse file of this part. Throws BaseBroken. */
  fill(part: Chunked, path: string): Promise<void>;
  /** Device and CPU state as the hypervisor gave it. Throws BaseBroken. */
  device(): Promise<Buffer>;
}

export async function readBase(source: ObjectSource, key: string): Promise<Base> {
  return concerning(key, async () => parseBase(await source.get(key), key));
}

/** The bases that a store lists (a hint, R14: one that is not listed only makes a chain longer), but those that turned out to be broken. */
export class StoredBases {
  readonly #keys = new Map<string, string>();

  private constructor(readonly source: ObjectSource, readonly cluster: string, keys: Iterable<string>) {
    for (const key of keys) {
      const named = parseBaseKey(key);
      if (named !== null) this.#keys.set(`${named.cut}/${named.vm}`, key);
    }
  }

  static async list(source: ObjectSource, cluster: string, without: ReadonlySet<string> = new Set()): Promise<StoredBases> {
    const keys: string[] = [];
    for await (const { key } of source.list(basesPrefix(cluster))) if (!without.has(key)) keys.push(key);
    return new StoredBases(source, cluster, keys);
  }

  has(cut: string, vm: string): boolean {
    return this.#keys.has(`${cut}/${vm}`);
  }

  /** Key of the base of this VM at the cut of this hash. */
  key(cut: string, vm: string): string | null {
    return this.#keys.get(`${cut}/${vm}`) ?? null;
  }

  /** Null when there is none. Throws BaseBroken, also when it is of another segment than the chain leads to. */
  async start(cut: string, vm: string, segment: string): Promise<BaseStart | null> {
    const key = this.key(cut, vm);
    if (key === null) return null;
    const broken = async <T>(read: () => Promise<T>): Promise<T> => read().catch((error: unknown) => {
      throw error instanceof CutBroken ? new BaseBroken(key, error) : error;
    });
    const base = await broken(() => readBase(this.source, key));
    if (base.segment.hash !== segment) throw new BaseBroken(key, new CutBroken(key, `it is of segment ${base.segment.hash}, the chain leads to ${segment}`));
    const { source, cluster } = this;
    return {
      key, base,
      fill: (part, path) => broken(() => writeImageTo(source, cluster, part, path)),
      device: () => broken(() => readContent(source, cluster, base.device)),
    };
  }
}

/** All of a content in memory: for small ones. Throws CutBroken. */
async function readContent(source: ObjectSource, cluster: string, { bytes, chunk_bytes, chunks }: Chunked): Promise<Buffer> {
  const content = Buffer.alloc(bytes);
  for (const [at, hash] of chunks.entries()) {
    const position = at * chunk_bytes;
    if (hash !== null) (await readChunk(source, cluster, hash, Math.min(chunk_bytes, bytes - position))).copy(content, position);
  }
  return content;
}

/** Runs what folds or reads along chains, with the bases of the store; those that are broken are passed over. When it fails without them too, the first that was broken is thrown. */
export async function passingOver<T>(source: ObjectSource, cluster: string, run: (bases: StoredBases) => Promise<T>): Promise<T> {
  const passed = new Set<string>();
  let first: BaseBroken | null = null;
  for (;;) {
    try {
      return await run(await StoredBases.list(source, cluster, passed));
    } catch (error) {
      if (!(error instanceof BaseBroken)) throw error instanceof CutBroken ? first ?? error : error;
      passed.add(error.base);
      first ??= error;
    }
  }
}
