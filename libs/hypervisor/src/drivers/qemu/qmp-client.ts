import type { Duplex } from 'node:stream';
import { HypervisorError, reasonOf } from '../../errors.js';
import { LIMITS } from './limits.js';
import { LineReader, parseMessage } from './qmp-schemas.js';
import type { QmpMessage } from './qmp-schemas.js';

export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}
/** How QEMU begins an event. One that began otherwise would be parsed, and told to nobody. */
const EVENT = '{"timestamp"';

export type QmpArguments = Readonly<Record<string, unknown>>;

interface Pending {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: HypervisorError) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * QEMU's control connection over a stream that is connected already. Commands may be sent before earlier ones are answered:
 * QEMU executes them in order, which saves a round trip inside the pause.
 */
export class QmpClient {
  readonly #stream: Duplex;
  readonly #vm: string;
  readonly #events: boolean;
  readonly #lines = new LineReader();
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #greeting = Promise.withResolvers<string>();
  #next = 1;
  #closed: HypervisorError | null = null;

  /** `events: false` for a connection whose events another one tells: they are not parsed. */
  constructor(stream: Duplex, vm: string, { events = true }: { readonly events?: boolean } = {}) {
    this.#stream = stream;
    this.#vm = vm;
    this.#events = events;
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.on('error', (error) => this.#close(new HypervisorError('vm-gone', `${vm}: control connection lost: ${error.message}`)));
    for (const end of ['end', 'close']) {
      stream.on(end, () => this.#close(new HypervisorError('vm-gone', `${vm}: QEMU closed its control connection`)));
    }
    // A greeting that nobody waits for any more is no unhandled rejection: `ready` reports it.
    this.#greeting.promise.catch(() => undefined);
  }

  /** Waits for the greeting and leaves negotiation mode; returns QEMU's version. */
  async ready(timeout_ms: number = LIMITS.greeting_ms): Promise<string> {
    const timer = setTimeout(
      () => this.#greeting.reject(new HypervisorError('vm-stuck', `${this.#vm}: QEMU did not greet within ${timeout_ms} ms`)), timeout_ms);
    try {
      const version = await this.#greeting.promise;
      await this.execute('qmp_capabilities');
      return version;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Runs one command. Rejects with `refused` (QEMU's own words), `vm-stuck` (no answer in time) or `vm-gone`. */
  execute(command: string, args?: QmpArguments, timeout_ms: number = LIMITS.command_ms): Promise<unknown> {
    const id = this.#next++;
    return this.#send(command, id, `${textOf(command, args, id)}\n`, timeout_ms);
  }

  /** Sends a command but for its last byte, which the function returned sends: once, and before anything else is sent here. It rejects as `execute` does. */
  begin(command: string, args?: QmpArguments, timeout_ms: number = LIMITS.command_ms): () => Promise<unknown> {
    const id = this.#next++;
    const text = textOf(command, args, id);
    if (this.#closed === null) this.#stream.write(text.slice(0, -1));
    return () => this.#send(command, id, text.slice(-1), timeout_ms);
  }

  #send(command: string, id: number, text: string, timeout_ms: number): Promise<unknown> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    if (this.#pending.size >= LIMITS.qmp_pending) {
      return Promise.reject(new HypervisorError('vm-stuck', `${this.#vm}: ${this.#pending.size} commands are unanswered, ${command} was not sent`));
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new HypervisorError('vm-stuck', `${this.#vm}: QEMU did not answer ${command} within ${timeout_ms} ms`));
      }, timeout_ms);
      this.#pending.set(id, { command, resolve, reject, timer });
      this.#stream.write(text);
    });
  }

  /** Calls back for every event until the returned function is called. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#stream.destroy();
  }

  #onData(chunk: Buffer): void {
    if (this.#closed !== null) return;
    let messages: QmpMessage[];
    try {
      const lines = this.#lines.push(chunk);
      messages = (this.#events ? lines : lines.filter((line) => !line.startsWith(EVENT))).map(parseMessage);
    } catch (error) {
      this.#close(new HypervisorError('vm-gone', `${this.#vm}: what came on the control connection is not QMP: ${reasonOf(error)}`));
      this.#stream.destroy();
      return;
    }
    for (const message of messages) this.#onMessage(message);
  }

  #onMessage(message: QmpMessage): void {
    if (message.kind === 'greeting') return this.#greeting.resolve(message.version);
    if (message.kind === 'event') {
      for (const listener of this.#listeners) listener(message);
      return;
    }
    const pending = message.id === null ? undefined : this.#pending.get(message.id);
    // The answer to a command that was given up.
    if (pending === undefined || message.id === null) return;
    this.#pending.delete(message.id);
    clearTimeout(pending.timer);
    if (message.kind === 'return') pending.resolve(message.value);
    else pending.reject(new HypervisorError('refused', `${this.#vm}: QEMU refused ${pending.command}: ${message.reason}`));
  }

  #close(error: HypervisorError): void {
    if (this.#closed !== null) return;
    this.#closed = error;
    this.#greeting.reject(error);
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(error);
    }
    this.#pending.clear();
  }
}

const textOf = (command: string, args: QmpArguments | undefined, id: number): string =>
  JSON.stringify(args === undefined ? { execute: command, id } : { execute: command, arguments: args, id });
