/** What folding and verifying need of an object store; `@virtcft/object-store` gives it. */
export interface ObjectSource {
  /** Errors carry a `code`; OBJECT_MISSING and OBJECT_CORRUPT concern this object, any other the store. */
  get(key: string, range?: { readonly offset: number; readonly length: number }): Promise<Buffer>;
  /** Bytes that `get` gave, which nobody uses any more: their memory is free at once. Absent where somebody else may hold them, too. */
  release?(bytes: Buffer): void;
  list(prefix: string, options?: { readonly after?: string; readonly limit?: number }): AsyncIterable<{ readonly key: string }>;
}

/** An object that a cut needs is missing or damaged. It is named, and nothing is restored from it (I4). */
export class CutBroken extends Error {
  readonly code = 'CUT_BROKEN';
  override readonly name = 'CutBroken';
  constructor(readonly key: string, readonly reason: string, cause?: unknown) {
    super(`"${key}": ${reason}`, { cause });
  }
}

/** Errors that say something about the object itself, not about the store or this process. */
const faults = new Set(['OBJECT_MISSING', 'OBJECT_CORRUPT', 'FORMAT', 'EBADSECTION']);

/** Runs what reads or parses the object at `key`; a fault of the object becomes CutBroken, any other error stays as it is. */
export async function concerning<T>(key: string, read: () => Promise<T> | T): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw code !== undefined && faults.has(code) ? new CutBroken(key, message, error) : error;
  }
}
