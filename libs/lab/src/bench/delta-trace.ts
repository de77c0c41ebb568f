import { readPack, ReferredSections, resolveSegment, walkCuts, type StoredCut } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import { ReplicaImage } from '@virtcft/native';
import type { ObjectStore } from '@virtcft/object-store';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

const PAGE_BYTES = 4096;
const SECTION_HEAD_BYTES = 40; // docs/formats/page-section.md
const NUMBER_MASK = 0x3fff_ffff;
/** Of blocks: they refer to nothing. */
const NO_HOST = 0xffff_ffff;

export interface DeltaTrace {
  /** Native byte order; per section: pages, 1 when they have a parent, number of the cut, number of the host (none: blocks of a disk), their contents, and then the parent's. */
  readonly path: string;
  /** Captures of one VM. */
  readonly captures: number;
  readonly pages: number;
  readonly blocks: number;
  /** Of whole segments as stored, and of these the parts that are no pages or blocks: header and device state. */
  readonly stored_bytes: number;
  readonly other_bytes: number;
  /** Names of the segments. */
  readonly segments: ReadonlySet<string>;
}

/** Writes the last deltas before `tip`, at most `cuts` cuts of them, into `folder`. */
export async function traceDeltas(store: ObjectStore, tip: CutRef, cuts: number, folder: string): Promise<DeltaTrace> {
  const path = join(folder, 'trace');
  const images = new Map<string, ReplicaImage>();
  const trace = await open(path, 'w');
  const segments = new Set<string>();
  const hosts: string[] = [];
  const referred = new ReferredSections(store);
  let [captures, pages, blocks, stored_bytes, other_bytes] = [0, 0, 0, 0, 0];
  try {
    const all = await oldestFirst(store, tip);
    for (const [at, { manifest }] of all.entries()) {
      for (const ref of manifest.packs) {
        const { host, segments: captured, references } = await readPack(store, ref);
        if (!hosts.includes(host)) hosts.push(host);
        for (const stored of captured) {
          const segment = await resolveSegment(stored, references, (reference) => referred.read(reference));
          const { vm, memory_bytes, kind } = segment.header;
          const file = join(folder, vm);
          const image = images.get(vm) ?? new ReplicaImage({ path: file, bytes: memory_bytes });
          images.set(vm, image);
          const wanted = at >= all.length - cuts && kind === 'delta';
          const numbers = pagesOf(segment.pages);
          const before = wanted ? await contents(file, numbers) : null;
          await image.apply(segment.pages);
          if (before === null) continue;
          await record(trace, { cut: at, host: hosts.indexOf(host) }, await contents(file, numbers), before);
          for (const [number, disk] of segment.disks.entries()) blocks += await traceBlocks(trace, at, disk, join(folder, `${vm}-disk-${number}`));
          segments.add(segment.hash);
          captures += 1;
          pages += numbers.length;
          stored_bytes += stored.bytes.length;
          other_bytes += stored.bytes.length - stored.pages.length - segment.disks.reduce((sum, disk) => sum + disk.length, 0);
        }
      }
    }
  } finally {
    await trace.close();
    for (const image of images.values()) image.close();
  }
  return { path, captures, pages, blocks, stored_bytes, other_bytes, segments };
}

async function oldestFirst(store: ObjectStore, tip: CutRef): Promise<StoredCut[]> {
  const found: StoredCut[] = [];
  for await (const cut of walkCuts(store, tip)) found.unshift(cut);
  return found;
}

function pagesOf(section: Buffer): number[] {
  return Array.from({ length: section.readUInt32LE(12) }, (_, at) => section.readUInt32LE(SECTION_HEAD_BYTES + 4 * at) & NUMBER_MASK);
}

async function contents(file: string, numbers: readonly number[]): Promise<Buffer> {
  const found = Buffer.alloc(numbers.length * PAGE_BYTES);
  const image = await open(file);
  try {
    for (const [at, number] of numbers.entries()) await image.read(found, at * PAGE_BYTES, PAGE_BYTES, number * PAGE_BYTES);
  } finally {
    await image.close();
  }
  return found;
}

/** A disk's blocks know no parent. */
async function traceBlocks(trace: FileHandle, cut: number, section: Buffer, file: string): Promise<number> {
  const numbers = pagesOf(section);
  const image = new ReplicaImage({ path: file, bytes: section.readUInt32LE(8) * PAGE_BYTES });
  try {
    await image.apply(section);
    await record(trace, { cut, host: NO_HOST }, await contents(file, numbers), null);
  } finally {
    image.close();
  }
  return numbers.length;
}

async function record(trace: FileHandle, { cut, host }: { cut: number; host: number }, after: Buffer, before: Buffer | null): Promise<void> {
  const head = new Uint32Array([after.length / PAGE_BYTES, before === null ? 0 : 1, cut, host]);
  await trace.writev([Buffer.from(head.buffer), after, ...(before === null ? [] : [before])]);
}
