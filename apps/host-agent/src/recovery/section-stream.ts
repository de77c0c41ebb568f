/** The stream is not what a replica store sends. */
export class BrokenSectionStream extends Error {}

/**
 * Cuts a byte stream into length-prefixed page sections. A zero length closes it: without it the other side died half-way, and a missing page
 * must not read as zero. Each section is copied once, whatever the pieces it came in. Throws BrokenSectionStream.
 */
export async function* sectionsOf(chunks: AsyncIterable<Buffer>, bound_bytes: number): AsyncGenerator<Buffer> {
  const lengthOf = Buffer.alloc(4);
  let section: Buffer | null = null;
  let filled = 0;
  let ended = false;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const target: Buffer = section ?? lengthOf;
      const taken: number = chunk.copy(target, filled, at);
      at += taken;
      filled += taken;
      if (filled < target.length) continue;
      filled = 0;
      if (section !== null) {
        yield section;
        section = null;
        continue;
      }
      const bytes = lengthOf.readUInt32LE(0);
      if (ended || bytes > bound_bytes) throw new BrokenSectionStream(ended ? 'there is more behind the end mark' : `a page section of ${bytes} bytes is beyond the bound`);
      if (bytes === 0) ended = true;
      else section = Buffer.allocUnsafeSlow(bytes);
    }
  }
  if (!ended || filled > 0) throw new BrokenSectionStream('the page stream ended before its end mark');
}
