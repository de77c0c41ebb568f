import { ObjectConflict, ObjectCorrupt, ObjectMissing, StoreRefused } from '../errors.js';
import { checkKey, checkRange, isKey } from '../keys.js';
import { limits } from '../limits.js';
import { release } from '../room.js';
import type { ByteRange, KeyUse, ListOptions, ObjectStore, Sealing } from '../store.js';
import { headBytes, isSealed, openHead, parseHead, placeOf, plainBytes, recordBytes, sealedBytes, type ObjectSecrets } from './format.js';
import type { SealingKey, SealingKeys } from './key-file.js';
import { openRecords, seal } from './records.js';

export interface SealedOptions {
  readonly keys: SealingKeys;
  /** Whether objects that are not sealed are read. Who can write to the store could put any there: only while some from before the keys are left. */
  readonly plain: 'refuse' | 'accept';
}

/** Every object of `inner` sealed, under its own key; callers see plain bytes and plain sizes. Layout: docs/formats/sealed-object.md. */
class SealedStore implements ObjectStore {
  readonly sealing: Sealing;
  readonly #heads = new Map<string, ObjectSecrets>();

  constructor(readonly inner: ObjectStore, readonly options: SealedOptions) {
    const { keys, plain } = options;
    this.sealing = { get current() { return keys.current.id; }, plain_accepted: plain === 'accept', use: () => keyUse(inner, keys) };
  }

  get capability(): ObjectStore['capability'] { return this.inner.capability; }

  async put(key: string, body: Buffer): Promise<'created' | 'exists'> {
    checkKey(key);
    this.#heads.delete(key);
    try {
      return await this.inner.put(key, await seal(body, key, this.options.keys.current));
    } catch (error) {
      // Equal bytes are sealed differently each time: what is there is opened to be compared.
      if (!(error instanceof ObjectConflict)) throw error;
      if (!(await this.get(key)).equals(body)) throw error;
      return 'exists';
    }
  }

  async get(key: string, range?: ByteRange): Promise<Buffer> {
    checkKey(key);
    if (range) return this.#range(key, range);
    const stored = await this.inner.get(key);
    if (this.#isPlain(key, stored)) return stored;
    const secrets = openHead(stored, key, this.#keyOf(key, stored).secret);
    checkLength(key, stored.length, secrets.head.bytes);
    return this.#open(stored, headBytes, 0, key, secrets);
  }

  release(bytes: Buffer): void {
    // Opened here, or given by the store inside as it is.
    release(bytes);
    this.inner.release?.(bytes);
  }

  async #open(stored: Buffer, from: number, first: number, key: string, secrets: ObjectSecrets): Promise<Buffer> {
    const opened = await openRecords(stored.subarray(from), first, key, secrets);
    this.inner.release?.(stored);
    return opened;
  }

  async #range(key: string, range: ByteRange): Promise<Buffer> {
    checkRange(range);
    const known = this.#heads.get(key);
    if (known === undefined) return this.#read(key, range, await this.#head(key));
    try {
      return await this.#read(key, range, known);
    } catch (error) {
      if (!(error instanceof ObjectCorrupt)) throw error;
      // It may have been removed and put again since, with another head.
      return this.#read(key, range, await this.#head(key));
    }
  }

  async #read(key: string, { offset, length }: ByteRange, secrets: ObjectSecrets | null): Promise<Buffer> {
    if (secrets === null) return this.inner.get(key, { offset, length });
    const { bytes } = secrets.head;
    if (offset + length > bytes) throw new ObjectCorrupt(key, `bytes ${offset}+${length} asked, it has ${bytes}`);
    const first = Math.floor(offset / recordBytes);
    const from = placeOf(first);
    const to = Math.min(placeOf(Math.ceil((offset + length) / recordBytes)), sealedBytes(bytes));
    const opened = await this.#open(await this.inner.get(key, { offset: from, length: to - from }), 0, first, key, secrets);
    return opened.subarray(offset - first * recordBytes, offset - first * recordBytes + length);
  }

  /** What the object is sealed with; null when it is plain, and that is accepted. */
  async #head(key: string): Promise<ObjectSecrets | null> {
    const found = await headOf(this.inner, key);
    if (found === null) throw new ObjectMissing(key);
    if (this.#isPlain(key, found)) return null;
    const secrets = openHead(found, key, this.#keyOf(key, found).secret);
    this.#heads.delete(key);
    this.#heads.set(key, secrets);
    const [oldest] = this.#heads.keys();
    if (this.#heads.size > limits.opened_heads && oldest !== undefined) this.#heads.delete(oldest);
    return secrets;
  }

  #isPlain(key: string, bytes: Buffer): boolean {
    if (isSealed(bytes)) return false;
    if (this.options.plain === 'accept') return true;
    throw new ObjectCorrupt(key, 'it is not sealed, and VIRTCFT_STORE_PLAIN refuses that: it was damaged or put there by somebody, or it is older than the keys');
  }

  #keyOf(key: string, bytes: Buffer): SealingKey {
    const { key: id } = parseHead(bytes, key);
    const found = this.options.keys.find(id);
    if (found === null) throw new StoreRefused(`"${key}" is sealed with key ${id}, which VIRTCFT_STORE_KEYS_FILE does not name: put that key back into the file`);
    return found;
  }

  async stat(key: string): Promise<{ bytes: number } | null> {
    checkKey(key);
    const [found, head] = await Promise.all([this.inner.stat(key), headOf(this.inner, key)]);
    if (found === null || head === null) return null;
    if (this.#isPlain(key, head)) return found;
    const { bytes } = openHead(head, key, this.#keyOf(key, head).secret).head;
    checkLength(key, found.bytes, bytes);
    return { bytes };
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<{ key: string; bytes: number }> {
    // Sizes as if all were sealed: to look into each would cost a request for each.
    for await (const { key, bytes } of this.inner.list(prefix, options)) yield { key, bytes: plainBytes(bytes) ?? bytes };
  }

  async remove(key: string): Promise<void> {
    this.#heads.delete(key);
    return this.inner.remove(key);
  }

  async close(): Promise<void> {
    this.#heads.clear();
    return this.inner.close();
  }
}

function checkLength(key: string, stored: number, plain: number): void {
  if (stored !== sealedBytes(plain)) throw new ObjectCorrupt(key, `it has ${stored} bytes, and with ${plain} sealed ones it should have ${sealedBytes(plain)}`);
}

/** The first bytes of an object, as many as a head has or fewer; null when there is none. */
async function headOf(inner: ObjectStore, key: string): Promise<Buffer | null> {
  try {
    return await inner.get(key, { offset: 0, length: headBytes });
  } catch (error) {
    if (error instanceof ObjectMissing) return null;
    if (!(error instanceof ObjectCorrupt)) throw error;
    // It is shorter than a head.
    return (await inner.get(key).catch((again: unknown) => {
      if (again instanceof ObjectMissing) return null;
      throw again;
    }))?.subarray(0, headBytes) ?? null;
  }
}

/** The name in a head that nobody has authenticated; null for none. */
function claimedKey(bytes: Buffer, key: string): string | null {
  try {
    return isSealed(bytes) ? parseHead(bytes, key).key : null;
  } catch (error) {
    if (error instanceof ObjectCorrupt) return null;
    throw error;
  }
}

/** The first object of a store and the key that it is sealed with, null for none; null when the store is empty. */
export async function firstKeyOf(inner: ObjectStore): Promise<{ key: string; id: string | null } | null> {
  for await (const { key } of inner.list('')) {
    if (!isKey(key)) continue; // another's, in a bucket that is shared
    const head = await headOf(inner, key);
    return head === null ? null : { key, id: claimedKey(head, key) };
  }
  return null;
}

async function keyUse(inner: ObjectStore, keys: SealingKeys): Promise<KeyUse[]> {
  const use = new Map<string | null, KeyUse>();
  const of = (id: string | null): KeyUse => {
    const found = use.get(id) ?? { id, current: id === keys.current.id, known: id === null || keys.find(id) !== null, objects: 0, bytes: 0 };
    use.set(id, found);
    return found;
  };
  for (const id of keys.ids) of(id);
  const objects = inner.list('')[Symbol.asyncIterator]();
  await Promise.all(Array.from({ length: limits.head_reads }, async () => {
    for (let next = await objects.next(); !next.done; next = await objects.next()) {
      const head = isKey(next.value.key) ? await headOf(inner, next.value.key) : null;
      if (head === null) continue; // another's, or removed meanwhile
      const entry = of(claimedKey(head, next.value.key));
      entry.objects++;
      entry.bytes += next.value.bytes;
    }
  }));
  return [...use.values()].sort((a, b) => ((a.id ?? '') < (b.id ?? '') ? -1 : 1));
}

/** A store that seals what is put into `inner` and opens what is read. Closing it closes `inner`. */
export function sealedStore(inner: ObjectStore, options: SealedOptions): ObjectStore {
  return new SealedStore(inner, options);
}
