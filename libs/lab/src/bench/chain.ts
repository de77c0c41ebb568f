import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { ContentUses, encodeManifest, encodePack, encodeSegment, foldCut, foldOn, ReplicaFold, storedImages, writeBase, type ObjectSource } from '@virtcft/checkpoint';
import { ClusterSpec, type CutRef } from '@virtcft/events';
import { ReplicaImage } from '@virtcft/native';
import { openDirectoryStore, type ObjectStore } from '@virtcft/object-store';
import { root } from '../demo/run.js';
import { readLoad } from '../guests.js';
import type { ChainReport } from '../report/bench-reports.js';
import { distribution, ratio } from '../report/distribution.js';
import { describeMachine, idleCpu, measuredCommit } from '../report/machine.js';
import type { BenchOptions } from './options.js';

const PAGE_BYTES = 4096;
const MEMORY_BYTES = 128 * 1024 * 1024;
const USED_PAGES = MEMORY_BYTES / PAGE_BYTES * 0.625; // of a small guest after its boot
const HOT_PAGES = 8_192; // most writes of a guest go to a part of its memory
const DIRTY_PAGES = 360; // of a cut under the load "light"
const EVERY = ClusterSpec.shape.bases.parse(undefined).every;
const [EARLY, LATE] = [10, 1_000];
const HALFWAY = EVERY / 2; // the late cut is as far behind its base as a cut is on average
const identity = { driver: 'qemu', version: '7.2.0', machine: 'pc-q35-7.2', accel: 'tcg', cpu: 'max' } as const;

/** How long it takes to fold a cut from a folder store after 10 cuts and after 1000, with new bases as often as a cluster has them by default; and the same without. */
export async function benchChain(options: BenchOptions, signal: AbortSignal): Promise<ChainReport> {
  const [idle_cpu, commit] = [await idleCpu(), await measuredCommit(root)];
  await mkdir(join(root, '.artifacts/bench'), { recursive: true });
  const folder = await mkdtemp(join(root, '.artifacts/bench/chain-'));
  try {
    const store = await openDirectoryStore({ path: join(folder, 'store') });
    const vm = await LoneVm.boot(store, join(folder, 'guest'));
    const [base_ms, base_bytes]: [number[], number[]] = [[], []];
    const bases = await ReplicaFold.open({ folder: join(folder, 'bases'), cluster: vm.cluster, images: storedImages(store, vm.cluster) });
    for (let epoch = 1; epoch <= LATE; epoch++) {
      signal.throwIfAborted();
      await vm.cut();
      if (epoch % EVERY !== HALFWAY) continue;
      const begun_ms = performance.now();
      await foldOn(store, vm.cuts.at(-1) as CutRef, bases);
      const { written_bytes } = await writeBase(store, bases, 'guest', { hold: new ContentUses(0).hold() });
      base_ms.push(performance.now() - begun_ms);
      base_bytes.push(written_bytes);
    }
    await bases.close();
    const times = { early: [] as number[], late: [] as number[], bare: [] as number[] };
    // Where no base is listed, a chain goes to its first segment.
    const bare: ObjectSource = { get: (key, range) => store.get(key, range), release: (bytes) => store.release?.(bytes), list: (prefix, listed) => (prefix.endsWith('/bases/') ? nothing() : store.list(prefix, listed)) };
    for (let round = 0; round < options.rounds; round++) {
      signal.throwIfAborted();
      times.early.push(await timed(store, vm.cuts[EARLY - 1] as CutRef, folder));
      times.late.push(await timed(store, vm.cuts[LATE - 1] as CutRef, folder));
      if (round < 3) times.bare.push(await timed(bare, vm.cuts[LATE - 1] as CutRef, folder));
    }
    await vm.end();
    await store.close();
    const [early, late, without] = [distribution(times.early), distribution(times.late), distribution(times.bare)];
    return {
      schema: 'virtcft/report/chain/1', commit, load: readLoad(options.load), ok: true, machine: await describeMachine({ accel: 'none', tracker: 'none', version: 'none' }, idle_cpu),
      params: { rounds: options.rounds, memory_bytes: MEMORY_BYTES, used_pages: USED_PAGES, hot_pages: HOT_PAGES, dirty_pages: DIRTY_PAGES, every: EVERY, cuts_behind_base: HALFWAY, store: 'dir', guest: 'synthetic: each cut one run of pages, half of each page random' },
      fold_10_ms: early, fold_1000_ms: late, fold_1000_without_bases_ms: without,
      rounds_10_ms: times.early, rounds_1000_ms: times.late,
      ratio_1000_to_10: ratio(late.p50, early.p50), ratio_without_bases: ratio(without.p50, early.p50),
      stored_bytes: vm.stored_bytes, bases: base_bytes.length, base_bytes: distribution(base_bytes), base_ms: distribution(base_ms),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function* nothing(): AsyncGenerator<{ key: string }> {
  // An empty listing.
}

async function timed(source: ObjectSource, cut: CutRef, folder: string): Promise<number> {
  const begun_ms = performance.now();
  const fold = await foldCut(source, cut, join(folder, 'fold'));
  const took_ms = performance.now() - begun_ms;
  await fold.abandon();
  await rm(join(folder, 'fold'), { recursive: true });
  return took_ms;
}

/** A memory without a guest: written in a file, cut through the codec, and stored as an agent and a coordinator do. */
class LoneVm {
  readonly cluster = randomUUID();
  readonly cuts: CutRef[] = [];
  stored_bytes = 0;
  #parent: string | null = null;
  readonly #incarnation = randomBytes(16).toString('hex');
  private constructor(readonly store: ObjectStore, readonly image: ReplicaImage, readonly file: FileHandle) {}

  static async boot(store: ObjectStore, path: string): Promise<LoneVm> {
    const image = new ReplicaImage({ path, bytes: MEMORY_BYTES });
    const vm = new LoneVm(store, image, await open(path, 'r+'));
    for (let page = 0; page < USED_PAGES; page += DIRTY_PAGES) await vm.write(page, Math.min(DIRTY_PAGES, USED_PAGES - page));
    return vm;
  }

  async write(first: number, count: number): Promise<void> {
    const content = Buffer.alloc(count * PAGE_BYTES, 'what a page holds besides ');
    for (let page = 0; page < count; page++) randomBytes(PAGE_BYTES / 2).copy(content, page * PAGE_BYTES);
    await this.file.write(content, 0, content.length, first * PAGE_BYTES);
  }

  async cut(): Promise<void> {
    const [epoch, full] = [this.cuts.length + 1, this.#parent === null];
    const [first, count] = full ? [0, MEMORY_BYTES / PAGE_BYTES] : [Math.floor(Math.random() * (HOT_PAGES - DIRTY_PAGES)), DIRTY_PAGES];
    if (!full) await this.write(first, count);
    const head = { cluster: this.cluster, generation: 1, incarnation: this.#incarnation, epoch };
    const told = { kind: full ? 'full' : 'delta', runState: 'running', memory_bytes: MEMORY_BYTES } as const;
    const segment = await encodeSegment({ ...head, ...told, vm: 'guest', parent: this.#parent, identity }, { pages: await this.image.read({ first, count }), device: randomBytes(20_000) });
    const pack = encodePack({ ...head, host: 'host-a', segments: [segment], channel: [], down: [] });
    await this.store.put(pack.key, pack.bytes);
    const cut = encodeManifest({
      ...head, format: 'virtcft/cut/1', previous: this.cuts.at(-1)?.hash ?? null, vms: { guest: { ...told, disks: [], host: 'host-a', segment: segment.hash } },
      packs: [{ host: 'host-a', epoch, key: pack.key, hash: pack.hash, bytes: pack.bytes.length }],
    });
    await this.store.put(cut.key, cut.bytes);
    this.stored_bytes += pack.bytes.length + cut.bytes.length;
    this.#parent = segment.hash;
    this.cuts.push({ key: cut.key, hash: cut.hash, generation: 1, epoch });
  }

  async end(): Promise<void> {
    await this.file.close();
    this.image.close();
  }
}
