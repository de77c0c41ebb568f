import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HypervisorError } from '../../errors.js';
import { checkDeviceState } from './device-state.js';
import { LIMITS } from './limits.js';

/** The files that QEMU writes device states into, until somebody reads them; bounded, because they lie in memory. */
export class StateFiles {
  readonly #directory: string;
  /** Captured and not read yet, oldest first. */
  readonly #unread: string[] = [];
  #made = 0;

  constructor(directory: string) {
    this.#directory = directory;
  }

  next(): string {
    return join(this.#directory, `state-${++this.#made}`);
  }

  /** The file belongs to a capture now. */
  keep(file: string): void {
    this.#unread.push(file);
  }

  /** Outside the pause: what is too old goes, its capture can be stored no more. */
  async bound(): Promise<void> {
    const old = this.#unread.splice(0, Math.max(0, this.#unread.length - LIMITS.unread_states));
    await Promise.all(old.map((file) => this.drop(file)));
  }

  /** Reads it once. Throws `wrong-state` when it is gone, `state-refused` when it is not whole. */
  async take(file: string): Promise<Buffer> {
    const at = this.#unread.indexOf(file);
    if (at < 0) throw new HypervisorError('wrong-state', `${file} was not read in time: only ${LIMITS.unread_states} device states are kept`);
    this.#unread.splice(at, 1);
    const state = await readFile(file);
    await this.drop(file);
    checkDeviceState(state);
    return state;
  }

  /** The file belongs to no capture. */
  async drop(file: string): Promise<void> {
    await rm(file, { force: true });
  }
}
