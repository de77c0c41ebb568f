/**
 * Room of bytes that a store gives away and that can be free at once: the collector counts such bytes, and for who reads hundreds of MiB it would run all the time, over
 * everything else that the process holds.
 */
const given = new WeakSet<ArrayBufferLike>();

/** A buffer with memory of its own. */
export function room(bytes: number): Buffer {
  const buffer = Buffer.allocUnsafeSlow(bytes);
  given.add(buffer.buffer);
  return buffer;
}

/** Frees what `room` gave, whole or a view of it: nobody may use it any more. Does nothing for other bytes. */
export function release({ buffer }: Buffer): void {
  if (given.delete(buffer)) (buffer as ArrayBuffer).transfer(0);
}
