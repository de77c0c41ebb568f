import { createSecretKey, type KeyObject } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { StoreRefused } from '../errors.js';
import { limits } from '../limits.js';
import { isKeyId } from './format.js';

const OTHERS = 0o077;
const line = /^(?:key\s+(?<id>\S+)\s+(?<secret>[0-9a-f]{64})|current\s+(?<current>\S+))$/;

export interface SealingKey { readonly id: string; readonly secret: KeyObject }
export interface SealingKeys {
  /** What new objects are sealed with. */
  readonly current: SealingKey;
  /** By name; null when it is not there. */
  find(id: string): SealingKey | null;
  readonly ids: readonly string[];
}

/** Keys from a file that its owner alone may read; read anew when an object names one that it did not have. */
export class KeyFile implements SealingKeys {
  #keys: SealingKeys;
  #read_ms = performance.now();

  /** Throws StoreRefused, which shows nothing of the keys. */
  constructor(readonly path: string) {
    this.#keys = readKeys(path);
  }

  get current(): SealingKey { return this.#keys.current; }
  get ids(): readonly string[] { return this.#keys.ids; }

  find(id: string): SealingKey | null {
    const known = this.#keys.find(id);
    if (known !== null || performance.now() - this.#read_ms < limits.key_file_again_ms) return known;
    this.#keys = readKeys(this.path);
    this.#read_ms = performance.now();
    return this.#keys.find(id);
  }
}

function readKeys(path: string): SealingKeys {
  const refuse = (what: string, cause?: unknown): never => { throw new StoreRefused(`VIRTCFT_STORE_KEYS_FILE: ${path} ${what}`, cause); };
  let file = -1;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    refuse(`cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'}); make one with "virtcft secrets", readable by this service alone`, error);
  }
  try {
    // Looked at through the descriptor that is read: it cannot be exchanged in between.
    const found = fstatSync(file);
    if ((found.mode & OTHERS) !== 0) refuse(`may be read by others (mode ${(found.mode & 0o777).toString(8)}): chmod 600 it, and if somebody may have read it make a new key current (docs/operations/encryption.md)`);
    if (!found.isFile()) refuse('is not a file');
    if (found.size > limits.key_file_bytes) refuse(`has ${found.size} bytes, and keys at most ${limits.key_file_bytes}; give the right file`);
    return keysIn(readFileSync(file, 'utf8')) ?? refuse('is no file of keys: write lines "key <name> <64 hex digits>", each name once (a-z, 0-9, -; at most 16), and one line "current <name>"');
  } finally {
    closeSync(file);
  }
}

/** Null unless every line is one of a key, of a comment or empty, and one says which is current. */
export function keysIn(text: string): SealingKeys | null {
  const keys = new Map<string, SealingKey>();
  let current: string | null = null;
  for (const each of text.split('\n').map((raw) => raw.trim())) {
    if (each === '' || each.startsWith('#')) continue;
    const found = line.exec(each)?.groups;
    if (found === undefined) return null;
    const { id, secret } = found;
    if (id !== undefined && secret !== undefined) {
      if (!isKeyId(id) || keys.has(id)) return null;
      keys.set(id, { id, secret: createSecretKey(Buffer.from(secret, 'hex')) });
    } else if (current === null) current = found['current'] ?? null;
    else return null;
  }
  const chosen = keys.get(current ?? '');
  return chosen === undefined ? null : { current: chosen, find: (id) => keys.get(id) ?? null, ids: [...keys.keys()] };
}
