import { chmod, mkdir, readFile, readdir, realpath, stat } from 'node:fs/promises';
import { basename } from 'node:path';

/** One active swap area, as far as it matters. `encrypted`: by dm-crypt, itself or all that it lies on. `volatile`: compressed memory, on no disk. */
export interface SwapArea { readonly path: string; readonly encrypted: boolean; readonly volatile: boolean }

/**
 * Why guests' memory could reach a disk in the clear; null when it cannot. `swapMax`: `memory.swap.max` of this process's control group and of those above, which
 * its hypervisors and their memory files are in, too.
 */
export function swapDanger(areas: readonly SwapArea[], swapMax: readonly string[]): string | null {
  const open = areas.filter(({ encrypted, volatile }) => !encrypted && !volatile);
  if (open.length === 0 || swapMax.some((max) => max.trim() === '0')) return null;
  return `guests' memory could be swapped to ${open.map(({ path }) => path).join(', ')}, in the clear: run this with MemorySwapMax=0 (its control group's memory.swap.max), or turn swap off or encrypt it (dm-crypt), or set VIRTCFT_SWAP=allow`;
}

/** A folder for guests' memory that nobody else may enter; what this process and its children make from now on is closed to others, too. */
export async function makePrivate(folder: string): Promise<void> {
  process.umask(0o077);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // It may have been there, open.
  await chmod(folder, 0o700);
}

/** As `swapDanger` says of this process on this machine. */
export async function swapDangerHere(): Promise<string | null> {
  const lines = (await textOf('/proc/swaps')).split('\n').slice(1).filter((line) => line !== '');
  const areas = await Promise.all(lines.map(async (line): Promise<SwapArea> => {
    // Spaces in a name are written as \040.
    const path = (line.split(/\s+/)[0] ?? '').replaceAll('\\040', ' ');
    const device = await realpath(path).catch(() => path);
    return { path, volatile: /^zram[0-9]+$/.test(basename(device)) && (await textOf(`/sys/block/${basename(device)}/backing_dev`)).trim() === 'none', encrypted: await isEncrypted(device) };
  }));
  return swapDanger(areas, await swapLimits());
}

async function isEncrypted(path: string): Promise<boolean> {
  // A file in a container's mount table may not be there: then nobody knows.
  const found = await stat(path).catch(() => null);
  if (found === null) return false;
  const number = found.isBlockDevice() ? found.rdev : found.dev;
  return deviceIsEncrypted(`/sys/dev/block/${(number >> 8) & 0xfff}:${(number & 0xff) | ((number >> 12) & 0xfff00)}`);
}

async function deviceIsEncrypted(folder: string): Promise<boolean> {
  if ((await textOf(`${folder}/dm/uuid`)).startsWith('CRYPT-')) return true;
  const below = await readdir(`${folder}/slaves`).catch(() => []);
  return below.length > 0 && (await Promise.all(below.map((name) => deviceIsEncrypted(`/sys/class/block/${name}`)))).every(Boolean);
}

/** From the own control group up (version 2; none without it). */
async function swapLimits(): Promise<string[]> {
  const group = /^0::(\/.*)$/m.exec(await textOf('/proc/self/cgroup'))?.[1] ?? '/';
  const parts = group.split('/').filter((part) => part !== '');
  return Promise.all(parts.map((_, at) => textOf(`/sys/fs/cgroup/${parts.slice(0, at + 1).join('/')}/memory.swap.max`)).concat(textOf('/sys/fs/cgroup/memory.swap.max')));
}

/** Empty for what this kernel or container does not show. */
const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');
