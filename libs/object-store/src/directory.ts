import { randomUUID } from 'node:crypto';
import { link, open, readdir, readFile, stat, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { ObjectConflict, ObjectCorrupt, ObjectMissing, StoreRefused, StoreUnavailable } from './errors.js';
import { Folders } from './folders.js';
import { checkKey, checkPrefix, checkRange } from './keys.js';
import { release, room } from './room.js';
import type { ByteRange, ListOptions, ObjectStore } from './store.js';

/** Written bytes per system call: bounds what one call holds of the thread pool; a call above 2 GiB is refused by Node. */
const writeBytes = 64 * 1024 * 1024;
/** A leftover of a writer that died is swept when it is older; a living writer needs far less. */
const leftoverAge_ms = 3_600_000;

const errno = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';

function translate(error: unknown, key: string): Error {
  const code = errno(error);
  const detail = `${key}: ${(error as Error).message}`;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new StoreUnavailable('full', detail, error);
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || code === 'ENOTDIR' || code === 'EISDIR') return new StoreRefused(detail, error);
  if (code === 'ENOENT' || code === 'ESTALE' || code === 'ENOTCONN') return new StoreUnavailable('unreachable', detail, error);
  if (code !== '') return new StoreUnavailable('io', detail, error);
  return error as Error;
}

class DirectoryStore implements ObjectStore {
  readonly capability = { create_only: 'enforced', read_back_bytes: 0 } as const;
  readonly #folders: Folders;
  readonly #scratch: string;

  constructor(readonly root: string) {
    this.#folders = new Folders(root);
    this.#scratch = `${root}/.writing`;
  }

  async prepare(): Promise<void> {
    await this.#folders.ensure(this.#scratch);
    for (const name of await readdir(this.#scratch)) {
      const path = `${this.#scratch}/${name}`;
      const found = await stat(path).catch(absent);
      if (found !== null && Date.now() - found.mtimeMs > leftoverAge_ms) await unlink(path).catch(absent);
    }
  }

  async put(key: string, body: Buffer): Promise<'created' | 'exists'> {
    checkKey(key);
    const path = `${this.root}/${key}`;
    const scratch = `${this.#scratch}/${randomUUID()}`;
    try {
      await this.#folders.ensure(dirname(path));
      // A plain retry (same key, same bytes) needs no new copy on the disk.
      if ((await stat(path).catch(absent)) === null) {
        await writeDurably(scratch, body);
        if (await this.#claim(scratch, path)) {
          await this.#folders.flush(dirname(path));
          return 'created';
        }
      }
      if (!(await readFile(path)).equals(body)) throw new ObjectConflict(key);
      // Its writer may have died between link and flush.
      await this.#folders.flush(dirname(path));
      return 'exists';
    } catch (error) {
      throw error instanceof ObjectConflict ? error : translate(error, key);
    } finally {
      await unlink(scratch).catch(absent);
    }
  }

  /** Gives the finished file its name unless the name is taken. */
  async #claim(scratch: string, path: string): Promise<boolean> {
    try {
      await link(scratch, path);
      return true;
    } catch (error) {
      if (errno(error) === 'EEXIST') return false;
      if (errno(error) !== 'ENOENT') throw error;
    }
    // The folder vanished since it was made: make it again, once.
    this.#folders.forget(dirname(path));
    await this.#folders.ensure(dirname(path));
    await link(scratch, path);
    return true;
  }

  async get(key: string, range?: ByteRange): Promise<Buffer> {
    checkKey(key);
    if (range) checkRange(range);
    let file: FileHandle | null = null;
    try {
      file = await open(`${this.root}/${key}`, 'r');
      const { size } = await file.stat();
      const { offset, length } = range ?? { offset: 0, length: size };
      if (offset + length > size) throw new ObjectCorrupt(key, `bytes ${offset}+${length} asked, it has ${size}`);
      const buffer = room(length);
      let done = 0;
      while (done < length) {
        const { bytesRead } = await file.read(buffer, done, length - done, offset + done);
        if (bytesRead === 0) throw new ObjectCorrupt(key, 'it shrank while it was read');
        done += bytesRead;
      }
      return buffer;
    } catch (error) {
      if (error instanceof ObjectCorrupt) throw error;
      throw errno(error) === 'ENOENT' ? new ObjectMissing(key) : translate(error, key);
    } finally {
      await file?.close();
    }
  }

  release(bytes: Buffer): void {
    release(bytes);
  }

  async stat(key: string): Promise<{ bytes: number } | null> {
    checkKey(key);
    try {
      const found = await stat(`${this.root}/${key}`);
      return found.isFile() ? { bytes: found.size } : null;
    } catch (error) {
      if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') return null;
      throw translate(error, key);
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<{ key: string; bytes: number }> {
    checkPrefix(prefix);
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    if (left <= 0) return;
    for await (const key of this.#walk(folder, prefix, options.after ?? '')) {
      const found = await this.stat(key);
      if (found === null) continue;
      yield { key, bytes: found.bytes };
      if (--left <= 0) return;
    }
  }

  /** Keys in byte order of the whole key: a folder sorts as its name with the slash. */
  async *#walk(folder: string, prefix: string, after: string): AsyncGenerator<string> {
    const entries = await readdir(`${this.root}/${folder}`, { withFileTypes: true }).catch((error: unknown) => {
      if (errno(error) === 'ENOENT') return [];
      throw translate(error, folder);
    });
    const names = entries.filter((entry) => !entry.name.startsWith('.')).map((entry) => folder + entry.name + (entry.isDirectory() ? '/' : ''));
    names.sort((a, b) => (a < b ? -1 : 1));
    for (const name of names) {
      if (!name.endsWith('/')) {
        if (name.startsWith(prefix) && name > after) yield name;
      } else if ((name.startsWith(prefix) || prefix.startsWith(name)) && (name > after || after.startsWith(name))) {
        yield* this.#walk(name, prefix, after);
      }
    }
  }

  async remove(key: string): Promise<void> {
    checkKey(key);
    await unlink(`${this.root}/${key}`).catch((error: unknown) => {
      if (errno(error) !== 'ENOENT' && errno(error) !== 'ENOTDIR') throw translate(error, key);
    });
  }

  async close(): Promise<void> {
    // Nothing is held open between calls.
  }
}

/** For what may be gone already: null then, any other error stays an error. */
function absent(error: unknown): null {
  if (errno(error) === 'ENOENT') return null;
  throw error;
}

async function writeDurably(path: string, body: Buffer): Promise<void> {
  const file = await open(path, 'wx', 0o640);
  try {
    for (let done = 0; done < body.length; ) {
      const { bytesWritten } = await file.write(body, done, Math.min(writeBytes, body.length - done));
      done += bytesWritten;
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A store in a folder of a local or network file system that keeps what fsync promises. The folder is made when missing. */
export async function openDirectoryStore(options: { path: string }): Promise<ObjectStore> {
  const store = new DirectoryStore(resolve(options.path));
  await store.prepare().catch((error: unknown) => {
    throw translate(error, options.path);
  });
  return store;
}
