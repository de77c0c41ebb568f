import { decodeChunk } from './image.js';

/** What writing content needs of an object store; `@virtcft/object-store` gives it. */
export interface ObjectTarget {
  put(key: string, body: Buffer): Promise<'created' | 'exists'>;
  get(key: string): Promise<Buffer>;
  stat(key: string): Promise<{ readonly bytes: number } | null>;
}

/** Puts a chunk object. Two versions of zstd give one chunk different bytes: what is there already is as good, if it is that chunk. */
export async function putChunk(store: ObjectTarget, key: string, hash: string, stored: Buffer): Promise<'created' | 'exists'> {
  try {
    return await store.put(key, stored);
  } catch (error) {
    if ((error as { code?: string }).code !== 'OBJECT_CONFLICT') throw error;
    const theirs = await store.get(key);
    await decodeChunk(theirs, hash).catch(() => { throw error; });
    return 'exists';
  }
}
