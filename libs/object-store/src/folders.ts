import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Makes an entry of this folder (a new file, a new folder) survive a power loss. */
async function fsyncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

interface Flushes {
  running: Promise<void>;
  next: Promise<void> | null;
}

/** Durable folders: made once, and flushed together (calls that come while a flush runs share the next one). */
export class Folders {
  readonly #known = new Set<string>();
  readonly #flushes = new Map<string, Flushes>();

  constructor(readonly root: string) {}

  /** Creates `path` below the root with every missing parent; durable when it resolves. */
  async ensure(path: string): Promise<void> {
    if (this.#known.has(path)) return;
    if (path !== this.root) await this.ensure(dirname(path));
    // Objects hold guests' memory: for the services' own user and group.
    await mkdir(path, { recursive: true, mode: 0o750 });
    await this.flush(dirname(path));
    this.#known.add(path);
  }

  /** The folder was found missing: somebody else removed it. */
  forget(path: string): void {
    for (const known of this.#known) if (known === path || known.startsWith(`${path}/`)) this.#known.delete(known);
    if (path !== this.root) this.#known.delete(dirname(path));
  }

  /** Flushes the folder with an fsync that began after this call. */
  async flush(path: string): Promise<void> {
    const current = this.#flushes.get(path);
    if (current) {
      current.next ??= current.running.then(() => this.#start(path), () => this.#start(path));
      return current.next;
    }
    return this.#start(path);
  }

  #start(path: string): Promise<void> {
    const running = fsyncFolder(path).finally(() => {
      if (this.#flushes.get(path)?.running === running && this.#flushes.get(path)?.next === null) this.#flushes.delete(path);
    });
    this.#flushes.set(path, { running, next: null });
    return running;
  }
}
