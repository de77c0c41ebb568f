import { ObjectConflict, ObjectCorrupt, ObjectMissing, type ByteRange, type ListOptions, type ObjectStore } from '@virtcft/object-store';

/** A store of a test, in memory, whose objects can be damaged. */
export class MemoryStore implements ObjectStore {
  readonly capability = { create_only: 'enforced' } as const;
  readonly map = new Map<string, Buffer>();

  async put(key: string, body: Buffer): Promise<'created' | 'exists'> {
    const known = this.map.get(key);
    if (known !== undefined && !known.equals(body)) throw new ObjectConflict(key);
    this.map.set(key, body);
    return known === undefined ? 'created' : 'exists';
  }

  async get(key: string, range?: ByteRange): Promise<Buffer> {
    const body = this.map.get(key);
    if (body === undefined) throw new ObjectMissing(key);
    if (range && range.offset + range.length > body.length) throw new ObjectCorrupt(key, 'it is shorter than what was asked for');
    return range ? body.subarray(range.offset, range.offset + range.length) : body;
  }

  async stat(key: string): Promise<{ bytes: number } | null> {
    const body = this.map.get(key);
    return body === undefined ? null : { bytes: body.length };
  }

  async *list(prefix: string, { after = '', limit = Number.POSITIVE_INFINITY }: ListOptions = {}): AsyncGenerator<{ key: string; bytes: number }> {
    let left = limit;
    for (const key of [...this.map.keys()].sort()) if (key.startsWith(prefix) && key > after && left-- > 0) yield { key, bytes: this.map.get(key)?.length ?? 0 };
  }

  async remove(key: string): Promise<void> { this.map.delete(key); }
  async close(): Promise<void> { /* Nothing is open. */ }
}
