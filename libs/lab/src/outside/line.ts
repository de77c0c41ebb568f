import { connect, type Socket } from 'node:net';
import type { z } from 'zod';

const ANSWER_BYTES = 65_536; // longest answer of a guest's daemon

export interface Target { readonly host: string; readonly port: number }

/** No answer: the connection broke, or nothing came in time. What was asked may have been done or not. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
}

/** A lasting connection to a guest's daemon: a line out, a line of JSON back, one at a time. Made again after it broke, or when no answer came. */
export class Line {
  private socket: Socket | null = null;
  private text = '';
  private answered: ((line: string) => void) | null = null;
  private broken: ((error: NoAnswer) => void) | null = null;
  private connections = 0;

  constructor(private readonly target: Target, private readonly answer_ms: number) {}

  /** How many times it was made again. */
  get reconnects(): number { return Math.max(0, this.connections - 1); }

  /** Throws NoAnswer; then the next question goes over a new connection. */
  async ask<T>(command: string, schema: z.ZodType<T>): Promise<T> {
    const socket = this.socket ?? this.open();
    const line = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => { this.drop(`no answer within ${this.answer_ms} ms`); }, this.answer_ms);
      this.answered = (text) => { clearTimeout(timer); resolve(text); };
      this.broken = (error) => { clearTimeout(timer); reject(error); };
      socket.write(`${command}\n`);
    });
    return schema.parse(JSON.parse(line));
  }

  close(): void { this.drop('closed'); }

  private open(): Socket {
    const socket = connect({ ...this.target, noDelay: true });
    this.connections += 1;
    this.text = '';
    socket.on('data', (data: Buffer) => { this.take(data.toString()); });
    socket.once('error', (error) => { if (this.socket === socket) this.drop(error.message); });
    socket.once('close', () => { if (this.socket === socket) this.drop('the connection was closed'); });
    this.socket = socket;
    return socket;
  }

  private take(data: string): void {
    this.text += data;
    const end = this.text.indexOf('\n');
    if (end < 0) {
      if (this.text.length > ANSWER_BYTES) this.drop('an answer without end');
      return;
    }
    const line = this.text.slice(0, end);
    this.text = this.text.slice(end + 1);
    const answered = this.answered;
    this.answered = this.broken = null;
    answered?.(line);
  }

  private drop(reason: string): void {
    const { socket, broken } = this;
    this.socket = this.answered = this.broken = null;
    socket?.destroy();
    broken?.(new NoAnswer(`${this.target.host}:${this.target.port}: ${reason}`));
  }
}
