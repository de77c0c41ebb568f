export interface ByteRange {
  /** First byte, from 0. */
  readonly offset: number;
  /** Bytes, at least 1. */
  readonly length: number;
}

export interface ListOptions {
  /** Only keys greater than this one. */
  readonly after?: string;
  /** At most this many keys. */
  readonly limit?: number;
}

/** How many objects need a key, or none (`id: null`). `known`: this service has the key. */
export interface KeyUse { readonly id: string | null; readonly current: boolean; readonly known: boolean; objects: number; bytes: number }

/** What a store that seals its objects says of its keys. */
export interface Sealing {
  /** Name of the key that new objects are sealed with. */
  readonly current: string;
  /** Objects that are not sealed are read, too. */
  readonly plain_accepted: boolean;
  /** Looks at every object of the store; bytes are those stored. Damaged heads are under the name that they show, or none. */
  use(): Promise<KeyUse[]>;
}

/**
 * Write-once objects under keys. Nothing is ever overwritten. Every call may throw StoreUnavailable (try again later) or StoreRefused
 * (an operator has to act); the other errors are named per call.
 */
export interface ObjectStore {
  readonly capability: {
    /** Whether the store itself refuses to overwrite a key, probed when it was opened. `absent`: put compares before and reads back after. */
    readonly create_only: 'enforced' | 'absent';
    /** Up to so many bytes `put` has read the whole object back and compared it when it resolves: nobody need do it again. */
    readonly read_back_bytes: number;
  };
  /** Absent: objects are stored as they are put. */
  readonly sealing?: Sealing;
  /**
   * Resolves when the object is durable: file and folder fsynced, or acknowledged by the server and read back. The body must not change
   * meanwhile. An existing key is compared: equal gives `exists` (durable too), different throws ObjectConflict.
   */
  put(key: string, body: Buffer): Promise<'created' | 'exists'>;
  /** The whole object, or exactly the range. Throws ObjectMissing; ObjectCorrupt when the range reaches beyond the object. */
  get(key: string, range?: ByteRange): Promise<Buffer>;
  /** Bytes that `get` gave, which nobody uses any more: their memory is free at once, and they have no content. Absent, or not called: the collector does it in time. */
  release?(bytes: Buffer): void;
  stat(key: string): Promise<{ bytes: number } | null>;
  /** Keys that start with `prefix`, in byte order. A listing, sizes too, is a hint of what exists, never the truth about what is committed (R14). */
  list(prefix: string, options?: ListOptions): AsyncIterable<{ key: string; bytes: number }>;
  /** Removing what does not exist succeeds. */
  remove(key: string): Promise<void>;
  close(): Promise<void>;
}
