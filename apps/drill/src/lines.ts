import type { Readable, Writable } from 'node:stream';
import type { z } from 'zod';
import { limits } from './limits.js';

/** The other side sent what is not in the protocol between the parts of a drill. */
export class BrokenLines extends Error {
  override readonly name = 'BrokenLines';
}

/** Reads lines of JSON until the stream ends, however it ends. Throws BrokenLines for a line that is too long or has another shape. */
export async function* linesOf<T>(stream: Readable, schema: z.ZodType<T>): AsyncGenerator<T> {
  let rest = '';
  stream.setEncoding('utf8');
  for await (const text of stream as AsyncIterable<string>) {
    rest += text;
    if (rest.length > limits.line_bytes) throw new BrokenLines(`a line is longer than ${limits.line_bytes} bytes`);
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      yield parsed(rest.slice(0, end), schema);
      rest = rest.slice(end + 1);
    }
  }
}

export function sendLine(stream: Writable, value: unknown): void {
  if (stream.writable) stream.write(`${JSON.stringify(value)}\n`);
}

function parsed<T>(line: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(line));
  } catch (error) {
    throw new BrokenLines(`not what is expected: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
