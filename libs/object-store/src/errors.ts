/** Why a store cannot be used now. All of them may pass by themselves or after somebody makes room. */
export type UnavailableReason = 'full' | 'unreachable' | 'overloaded' | 'io';

/** Base of every error an object store throws on purpose; `code` says what the caller should do. */
export abstract class StoreError extends Error {
  abstract readonly code: 'STORE_UNAVAILABLE' | 'STORE_REFUSED' | 'OBJECT_MISSING' | 'OBJECT_CONFLICT' | 'OBJECT_CORRUPT';
  override get name(): string {
    return this.constructor.name;
  }
}

/** Keep the bytes and try again later: nothing is known about whether the last write took place. */
export class StoreUnavailable extends StoreError {
  readonly code = 'STORE_UNAVAILABLE';
  constructor(readonly reason: UnavailableReason, detail: string, cause?: unknown) {
    super(`object store unavailable (${reason}): ${detail}`, { cause });
  }
}

/** Trying again will not help: credentials, permissions or the address are wrong. An operator has to act. */
export class StoreRefused extends StoreError {
  readonly code = 'STORE_REFUSED';
  constructor(detail: string, cause?: unknown) {
    super(`object store refused: ${detail}`, { cause });
  }
}

export class ObjectMissing extends StoreError {
  readonly code = 'OBJECT_MISSING';
  constructor(readonly key: string) {
    super(`no object "${key}"`);
  }
}

/** The key exists with other content. It was not overwritten: two writers made different bytes for one key. */
export class ObjectConflict extends StoreError {
  readonly code = 'OBJECT_CONFLICT';
  constructor(readonly key: string) {
    super(`object "${key}" exists with other content`);
  }
}

/** What is stored is not what was put, or is shorter than what was asked for. */
export class ObjectCorrupt extends StoreError {
  readonly code = 'OBJECT_CORRUPT';
  constructor(readonly key: string, readonly reason: string) {
    super(`object "${key}" is corrupt: ${reason}`);
  }
}
