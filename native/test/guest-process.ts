import { execFileSync, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';

const PAGE = 4096;

/** A folder on tmpfs with a RAM file and the compiled stand-in for a hypervisor (guest.cc). */
export class Bench {
  readonly folder = mkdtempSync('/dev/shm/virtcft-native-');
  readonly #guests: Guest[] = [];
  readonly #guest = join(this.folder, 'guest');

  constructor() {
    execFileSync('g++', ['-std=c++20', '-O1', '-pthread', join(import.meta.dirname, 'guest.cc'), '-o', this.#guest]);
  }

  ram(name: string, pages: number): RamFile {
    return new RamFile(join(this.folder, name), pages);
  }

  /** Resolves when it has mapped the file. */
  async guest(ram: RamFile): Promise<Guest> {
    const guest = new Guest(this.#guest, ram.path);
    this.#guests.push(guest);
    await guest.ask('ticks');
    return guest;
  }

  [Symbol.dispose](): void {
    for (const guest of this.#guests) guest.process.kill('SIGKILL');
    rmSync(this.folder, { recursive: true });
  }
}

export class RamFile {
  readonly bytes: number;

  constructor(
    readonly path: string,
    pages: number,
  ) {
    this.bytes = pages * PAGE;
    writeFileSync(path, '');
    truncateSync(path, this.bytes);
  }

  content(): Buffer {
    return readFileSync(this.path);
  }

  /** First byte of a page. */
  byte(page: number): number {
    const fd = openSync(this.path, 'r');
    const one = Buffer.alloc(1);
    readSync(fd, one, 0, 1, page * PAGE);
    closeSync(fd);
    return one[0]!;
  }
}

export class Guest {
  readonly process: ChildProcessWithoutNullStreams;
  readonly pid: number;
  readonly #answers: AsyncIterator<string>;
  readonly #lines: Interface;
  exits = 0;

  constructor(program: string, ramPath: string) {
    this.process = spawn(program, [ramPath]);
    this.pid = this.process.pid!;
    this.process.on('exit', () => this.exits++);
    this.#lines = createInterface(this.process.stdout);
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  async ask(command: string): Promise<string> {
    this.process.stdin.write(`${command}\n`);
    const answer = await this.#answers.next();
    if (answer.done) throw new Error(`the guest ended at: ${command}`);
    return answer.value;
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill('SIGKILL');
    await ended;
  }
}
