import { LIMITS } from './limits.js';

/** One line of QMP, checked. */
export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: string }
  | { readonly kind: 'return'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number | null; readonly reason: string }
  | { readonly kind: 'event'; readonly name: string; readonly data: Readonly<Record<string, unknown>> };

type Fields = Record<string, unknown>;

function fields(value: unknown): Fields | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : null;
}

/** Parses one line; throws an Error that says what is not QMP about it. */
export function parseMessage(line: string): QmpMessage {
  const message = fields(JSON.parse(line));
  if (message === null) throw new Error('not a JSON object');
  const greeting = fields(message['QMP']);
  if (greeting !== null) return { kind: 'greeting', version: parseVersion(greeting['version']) };
  if (typeof message['event'] === 'string') return { kind: 'event', name: message['event'], data: fields(message['data']) ?? {} };
  const id = typeof message['id'] === 'number' ? message['id'] : null;
  const error = fields(message['error']);
  if (error !== null) return { kind: 'error', id, reason: typeof error['desc'] === 'string' ? error['desc'] : 'no reason given' };
  if ('return' in message && id !== null) return { kind: 'return', id, value: message['return'] };
  throw new Error('neither greeting, event, return nor error');
}

/** `7.2.22` and the package in brackets where there is one: device state is only exchanged between equal builds. */
export function parseVersion(value: unknown): string {
  const version = fields(value);
  const qemu = fields(version?.['qemu']);
  const parts = [qemu?.['major'], qemu?.['minor'], qemu?.['micro']];
  if (!parts.every((part) => typeof part === 'number')) throw new Error('a greeting without a version');
  const build = typeof version?.['package'] === 'string' ? version['package'].trim() : '';
  return build === '' ? parts.join('.') : `${parts.join('.')} (${build.replace(/^\((.*)\)$/, '$1')})`;
}

/** The `name`s (or another string field) of a list of objects; what has none is left out. */
export function stringsOf(value: unknown, field: string): string[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry) => {
    const name = fields(entry)?.[field];
    return typeof name === 'string' ? [name] : [];
  });
}

/** Thread ids out of `query-cpus-fast`. */
export function threadsOf(value: unknown): number[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry) => {
    const thread = fields(entry)?.['thread-id'];
    return typeof thread === 'number' && Number.isSafeInteger(thread) && thread > 0 ? [thread] : [];
  });
}

/** Cuts a byte stream into lines, bounded. */
export class LineReader {
  #parts: Buffer[] = [];
  #bytes = 0;

  /** Complete lines that `chunk` ends, without their ends. Throws when a line grows beyond the bound. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let from = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      this.#keep(chunk.subarray(from, at));
      const line = Buffer.concat(this.#parts).toString('utf8').trim();
      this.#parts = [];
      this.#bytes = 0;
      if (line !== '') lines.push(line);
      from = at + 1;
    }
    if (from < chunk.length) this.#keep(chunk.subarray(from));
    return lines;
  }

  #keep(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#bytes > LIMITS.qmp_line_bytes) throw new Error(`a line of more than ${LIMITS.qmp_line_bytes} bytes`);
    this.#parts.push(part);
  }
}
