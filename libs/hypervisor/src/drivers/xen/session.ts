import { HypervisorError, type HypervisorErrorCode } from '../../errors.js';
import { ReplyReader, type Said } from './replies.js';
import type { XenChannel } from './transport.js';

type Ok = Extract<Said, { kind: 'ok' }>;

/** What the program's codes ask the caller to do. */
const CODES: Readonly<Record<string, HypervisorErrorCode>> = {
  ENOXEN: 'host-unfit', EVERSION: 'host-unfit', ENODOMAIN: 'vm-gone', EDOMAIN: 'spec-invalid', ESUSPEND: 'vm-stuck', EBADSTATE: 'state-refused', EBADSECTION: 'state-refused',
  ESTATE: 'wrong-state', EEPOCH: 'wrong-state', ENOMEM: 'no-room',
};

/** One domain held by a `virtcft-xen serve`. Requests are answered in order; when the program is gone every request fails with `vm-gone`. */
export class XenSession {
  readonly #channel: XenChannel;
  readonly #waiting: { resolve: (said: Ok) => void; reject: (error: Error) => void }[] = [];
  readonly #hello: Promise<Ok>;
  #over: string | null = null;
  /** Settles, with the reason, when the program is gone. */
  readonly ended: Promise<string>;

  constructor(channel: XenChannel, onCondition: (condition: string) => void) {
    this.#channel = channel;
    const replies = new ReplyReader();
    channel.output.on('data', (piece: Buffer) => {
      try {
        for (const said of replies.push(piece)) {
          if (said.kind === 'event') onCondition(said.values.get('condition') ?? '');
          else if (said.kind === 'ok') this.#waiting.shift()?.resolve(said);
          else this.#waiting.shift()?.reject(new HypervisorError(CODES[said.code] ?? 'refused', said.message));
        }
      } catch (error) {
        channel.output.destroy(error as Error);
      }
    });
    channel.output.on('error', (error) => { this.#end(error.message); });
    this.ended = channel.ended.then((reason) => {
      this.#end(reason);
      return reason;
    });
    this.#hello = this.#answer();
    this.#hello.catch(() => undefined);
  }

  /** The process number and Xen's version, once the program has said them. */
  async hello(): Promise<{ pid: number; xen: string }> {
    const { values } = await this.#hello;
    return { pid: Number(values.get('pid')), xen: values.get('xen') ?? '' };
  }

  /** The reply's values as numbers where they are, and its bytes. HypervisorError with the program's reason. */
  async ask(words: readonly (string | number)[], payload?: Buffer): Promise<{ number(key: string): number; text(key: string): string; payload: Buffer }> {
    await this.#hello;
    if (this.#over !== null) throw this.#gone();
    const answered = this.#answer();
    this.#channel.input.write(`${words.join(' ')}${payload ? ` +${payload.length}` : ''}\n`);
    if (payload) this.#channel.input.write(payload);
    const { values, payload: bytes } = await answered;
    return { number: (key) => Number(values.get(key) ?? NaN), text: (key) => values.get(key) ?? '', payload: bytes };
  }

  /** No more requests: a guest that stands for a capture runs on, the program lets go of it and ends. */
  async end(): Promise<void> {
    this.#channel.input.end();
    await this.ended;
  }

  #answer(): Promise<Ok> {
    return new Promise((resolve, reject) => { this.#waiting.push({ resolve, reject }); });
  }

  #end(reason: string): void {
    this.#over ??= reason;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#gone());
  }

  #gone(): HypervisorError {
    return new HypervisorError('vm-gone', `virtcft-xen is gone: ${this.#over ?? ''}. \`virtcft-xen abandoned\` in dom0 lets a guest run that it left standing`);
  }
}
