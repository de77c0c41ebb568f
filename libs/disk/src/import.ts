import { execFile } from 'node:child_process';
import { rm, stat, truncate } from 'node:fs/promises';
import { promisify } from 'node:util';
import { z } from 'zod';
import { DiskError } from './errors.js';
import { LIMITS } from './limits.js';

const run = promisify(execFile);

/** An image as a cluster file names it. */
export interface ImageSource {
  readonly source: string;
  readonly format: 'raw' | 'qcow2';
}

const Info = z.object({ 'virtual-size': z.int().min(1), format: z.string() });

/**
 * Copies an image into a private raw, sparse file at `target`, its size rounded up to whole blocks. The source is only read, and the copy is what
 * counts from then on. Returns the size in bytes. Throws DiskError: `source-unfit`, `host-unfit` (no qemu-img), `no-room`.
 */
export async function importSource({ source, format }: ImageSource, target: string): Promise<number> {
  const { 'virtual-size': size } = await information(source, format);
  const bytes = Math.ceil(size / LIMITS.block_bytes) * LIMITS.block_bytes;
  if (bytes > LIMITS.bytes) throw new DiskError('source-unfit', `${source}: a disk of ${bytes} bytes; at most ${LIMITS.bytes} are possible`);
  try {
    await qemuImg('convert', '-f', format, '-O', 'raw', '-S', `${LIMITS.block_bytes}`, source, target);
    await truncate(target, bytes);
  } catch (error) {
    await rm(target, { force: true });
    throw error instanceof DiskError ? error : unfit(source, error);
  }
  return bytes;
}

/** The format is given, never guessed: a guest could write a header that makes a raw image look like another. */
async function information(source: string, format: string): Promise<z.infer<typeof Info>> {
  try {
    if (!(await stat(source)).isFile()) throw new DiskError('source-unfit', `${source} is no file`);
    return Info.parse(JSON.parse(await qemuImg('info', '-f', format, '--output=json', source)));
  } catch (error) {
    throw error instanceof DiskError ? error : unfit(source, error);
  }
}

async function qemuImg(...words: readonly string[]): Promise<string> {
  try {
    return (await run('qemu-img', [...words], { maxBuffer: 1 << 20 })).stdout;
  } catch (error) {
    const { code, stderr = '', message } = error as { code?: string | number; stderr?: string; message: string };
    if (code === 'ENOENT') throw new DiskError('host-unfit', 'qemu-img is missing on this host: install qemu-utils', { cause: error });
    const complaint = (stderr.trim() || message).slice(-LIMITS.complaint_bytes);
    if (/no space left/i.test(complaint)) throw new DiskError('no-room', `no room for a copy of the image: ${complaint}`, { cause: error });
    throw new DiskError('source-unfit', complaint, { cause: error });
  }
}

function unfit(source: string, error: unknown): DiskError {
  return new DiskError('source-unfit', `${source} cannot be taken as a disk: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}
