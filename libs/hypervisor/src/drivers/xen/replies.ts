import { LIMITS } from './limits.js';

/** What `virtcft-xen serve` says: docs/formats/xen-session.md. */
export type Said =
  | { readonly kind: 'ok'; readonly values: ReadonlyMap<string, string>; readonly payload: Buffer }
  | { readonly kind: 'error'; readonly code: string; readonly message: string }
  | { readonly kind: 'event'; readonly values: ReadonlyMap<string, string> };

/** Reads replies, which come in pieces. `push` throws RangeError at what the program never says. */
export class ReplyReader {
  #pieces: Buffer[] = [];
  #held_bytes = 0;
  #wanted_bytes = 0;
  #line: Said | null = null;

  push(piece: Buffer): Said[] {
    this.#pieces.push(piece);
    this.#held_bytes += piece.length;
    const said: Said[] = [];
    while (this.#held_bytes >= this.#wanted_bytes) {
      const held = this.#take();
      if (this.#line?.kind === 'ok') {
        said.push({ ...this.#line, payload: held.subarray(0, this.#wanted_bytes) });
        this.#keep(held.subarray(this.#wanted_bytes));
        this.#line = null;
        this.#wanted_bytes = 0;
        continue;
      }
      const end = held.indexOf(0x0a);
      if (end < 0 || end > LIMITS.line_bytes) {
        if (held.length > LIMITS.line_bytes) throw new RangeError(`virtcft-xen said a line of more than ${LIMITS.line_bytes} bytes`);
        this.#keep(held);
        return said;
      }
      const line = parse(held.toString('utf8', 0, end));
      this.#keep(held.subarray(end + 1));
      const bytes = line.kind === 'ok' ? Number(line.values.get('bytes') ?? 0) : 0;
      if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > LIMITS.payload_bytes) throw new RangeError(`virtcft-xen said that ${line.kind === 'ok' ? line.values.get('bytes') : ''} bytes follow`);
      if (bytes === 0) said.push(line);
      else [this.#line, this.#wanted_bytes] = [line, bytes];
      if (this.#held_bytes === 0) return said;
    }
    return said;
  }

  #take(): Buffer {
    const [first] = this.#pieces;
    const all = this.#pieces.length === 1 && first ? first : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#held_bytes = 0;
    return all;
  }

  #keep(rest: Buffer): void {
    if (rest.length > 0) this.#pieces = [rest];
    this.#held_bytes = rest.length;
  }
}

function parse(line: string): Said {
  const [kind = '', ...words] = line.split(' ');
  if (kind === 'error') return { kind, code: words[0] ?? '', message: words.slice(1).join(' ') };
  if (kind !== 'ok' && kind !== 'event') throw new RangeError(`virtcft-xen said "${line.slice(0, 80)}"`);
  const values = new Map(words.map((word) => {
    const at = word.indexOf('=');
    if (at <= 0) throw new RangeError(`virtcft-xen said "${line.slice(0, 80)}"`);
    return [word.slice(0, at), word.slice(at + 1)] as const;
  }));
  return kind === 'ok' ? { kind, values, payload: Buffer.alloc(0) } : { kind, values };
}
