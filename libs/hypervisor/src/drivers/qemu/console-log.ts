import { open, rename } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { reasonOf } from '../../errors.js';
import type { Log } from '../../log.js';
import { LIMITS } from './limits.js';

/**
 * Writes a guest's serial console to a file of bounded size (the part before it is kept once, as `<path>.old`). What stands there is *uncommitted*:
 * it may come from an epoch that is rolled back, so it is for the operator of this host and never leaves the cluster (R9, R27).
 * While a write is under way the console is not read: a guest that floods it is slowed down, nothing piles up.
 */
export class ConsoleLog {
  readonly path: string;
  readonly #log: Log;
  #file: FileHandle | null = null;
  #bytes = 0;
  #work: Promise<void> = Promise.resolve();

  constructor(path: string, log: Log) {
    this.path = path;
    this.#log = log;
  }

  /** Takes over a new process's console. `note` is written before it, as a line of its own. */
  follow(console: Readable, note: string | null): void {
    if (note !== null) this.#append(Buffer.from(`\n--- ${note}\n`));
    console.on('data', (chunk: Buffer) => {
      console.pause();
      this.#append(chunk);
      void this.#work.then(() => console.resume());
    });
  }

  async close(): Promise<void> {
    await this.#work;
    await this.#file?.close();
    this.#file = null;
  }

  /** Work goes one after the other and never rejects: a console that cannot be written is told once per process and harms no guest. */
  #append(chunk: Buffer): void {
    this.#work = this.#work.then(() => this.#write(chunk)).catch((error: unknown) => {
      this.#log('console log cannot be written', { path: this.path, reason: reasonOf(error) });
    });
  }

  async #write(chunk: Buffer): Promise<void> {
    if (this.#bytes + chunk.length > LIMITS.console_bytes && this.#file !== null) {
      await this.#file.close();
      this.#file = null;
      await rename(this.path, `${this.path}.old`);
      this.#bytes = 0;
    }
    this.#file ??= await open(this.path, 'a', 0o600);
    await this.#file.write(chunk);
    this.#bytes += chunk.length;
  }
}
