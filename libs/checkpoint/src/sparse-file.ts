import type { FileHandle } from 'node:fs/promises';

const blockBytes = 4096;
const zeros = Buffer.alloc(blockBytes);

/** Writes what is not zero into a file that is zero there: what is not written stays a hole. */
export async function writeSparse(file: FileHandle, content: Buffer, position: number): Promise<void> {
  const isZero = (at: number): boolean => {
    const block = content.subarray(at, at + blockBytes);
    return block.equals(zeros.subarray(0, block.length));
  };
  for (let at = 0; at < content.length;) {
    if (isZero(at)) {
      at += blockBytes;
      continue;
    }
    const from = at;
    while (at < content.length && !isZero(at)) at += blockBytes;
    await writeAll(file, content.subarray(from, at), position + from);
  }
}

async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}

/** Exactly `length` bytes. Throws when the file ends before. */
export async function readExactly(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) throw new Error(`the file ends at ${position + done}, ${position + length} bytes are expected`);
    done += bytesRead;
  }
  return bytes;
}
