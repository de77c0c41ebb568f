import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { basesPrefix, chunksOf, foldOn, parseBaseKey, partsOf, ReplicaFold, storedImages, writeBase, type ContentUses, type ObjectSource, type WrittenBase } from '@virtcft/checkpoint';
import type { CutRef, Report } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import { basesDue, type ClusterState } from '@virtcft/protocol';
import { logger } from '@virtcft/telemetry';
import type { Told } from './collector.js';
import { limits } from './limits.js';

const log = logger('base-writer');

/** What is known of one cluster. */
interface Book {
  /** A fold of its own, beside the one that restores read: it moves at its own pace and stands while a base is written. Null until it is needed. */
  fold: ReplicaFold | null;
  /** By VM: the chunks of its last base. */
  readonly proved: Map<string, Set<string>>;
  /** Key of the newest cut with bases, as far as it sorts: "" where there is none. */
  newest: string | null;
  stored_bytes: number;
  written_bytes: number;
}

/**
 * Writes bases of all VMs of a cluster at its newest cut, from time to time (R2, R23): it folds from the store on its own, so that what it writes is what the
 * chain folds to, keeps no restore waiting, and reads and writes within a budget. It stands still while the cluster recovers.
 */
export class BaseWriter {
  private readonly stop = new AbortController();
  private readonly books = new Map<string, Book>();
  private running: Promise<void> = Promise.resolve();

  /** `folder` is its own. */
  constructor(private readonly store: ObjectStore, private readonly folder: string, private readonly uses: ContentUses, private readonly report: (cluster: string, report: Report) => Promise<void>) {}

  /** Until it is closed. */
  run(clusters: () => readonly Told[]): void {
    this.running = (async () => {
      while (!this.stop.signal.aborted) {
        await sleep(limits.bases_every_ms, undefined, { signal: this.stop.signal, ref: false }).catch(() => undefined);
        for (const { cluster } of this.stop.signal.aborted ? [] : clusters()) {
          const told = (): Told => clusters().find((each) => each.cluster === cluster) as Told;
          await this.writeIfDue(told).catch((error: unknown) => {
            if (!this.stop.signal.aborted) log.warn({ err: error, cluster }, 'no bases were written; it is tried again');
          });
        }
      }
    })();
  }

  /** A pack of this cluster was stored. */
  stored(cluster: string, bytes: number): void {
    this.book(cluster).stored_bytes += bytes;
  }

  /** Null when none are due. Throws CutBroken when the newest cut cannot be folded, and what the store throws. */
  async writeIfDue(told: () => Told): Promise<readonly WrittenBase[] | null> {
    const { cluster, state: { spec, tip }, cuts } = told();
    if (spec === null || tip === null || !runs(told().state)) return null;
    const book = this.book(cluster);
    book.newest ??= await this.newest(cluster);
    const since = cuts.filter(({ generation, epoch }) => place({ generation, epoch }) > (book.newest ?? '')).length;
    if (!basesDue(spec.bases, { cuts: since, ...book })) return null;
    const begun_ms = performance.now();
    try {
      const written = await this.write(told, book, tip, spec.bases.bytes_per_s / 1_000);
      const sum = (of: (each: WrittenBase) => number): number => written.reduce((total, each) => total + of(each), 0);
      const [written_bytes, chunks, new_chunks] = [sum((each) => each.written_bytes), sum((each) => each.chunks), sum((each) => each.new_chunks)];
      book.written_bytes += written_bytes;
      book.newest = place(tip);
      log.info({ cluster, cut: tip.key, cuts: since, chunks, new_chunks, written_bytes, took_ms: Math.round(performance.now() - begun_ms) }, 'bases are written');
      await this.report(cluster, { type: 'bases.stored', data: { generation: tip.generation, epoch: tip.epoch, vms: written.length, chunks, new_chunks, written_bytes } });
      return written;
    } catch (error) {
      // Whatever it holds, it is folded anew: from the last bases.
      const { fold } = book;
      book.fold = null;
      await fold?.close().catch(() => undefined);
      throw error;
    }
  }

  async close(): Promise<void> {
    this.stop.abort();
    await this.running;
    for (const { fold } of this.books.values()) await fold?.close();
  }

  private async write(told: () => Told, book: Book, cut: CutRef, bytes_per_ms: number): Promise<WrittenBase[]> {
    const { cluster } = told();
    const pace = async ({ read_bytes, written_bytes }: { readonly read_bytes: number; readonly written_bytes: number }): Promise<void> => {
      this.stop.signal.throwIfAborted();
      const wait_ms = Math.max(read_bytes / limits.bases_read_bytes_per_ms, written_bytes / bytes_per_ms);
      await sleep(wait_ms, undefined, { signal: this.stop.signal });
      while (!runs(told().state)) await sleep(limits.bases_recovery_wait_ms, undefined, { signal: this.stop.signal });
    };
    const source: ObjectSource = {
      get: async (key, range) => {
        const bytes = await this.store.get(key, range);
        await pace({ read_bytes: bytes.length, written_bytes: 0 });
        return bytes;
      },
      release: (bytes) => this.store.release?.(bytes),
      list: (prefix, options) => this.store.list(prefix, options),
    };
    book.fold ??= await this.open(cluster, source);
    await foldOn(source, cut, book.fold);
    const hold = this.uses.hold();
    try {
      const written: WrittenBase[] = [];
      for (const vm of book.fold.vms) {
        const proved = book.proved.get(vm) ?? new Set<string>();
        const base = await writeBase(this.store, book.fold, vm, { hold, pace, proved });
        book.proved.set(vm, chunksOf(partsOf(base.base)));
        written.push(base);
      }
      return written;
    } finally {
      hold.release();
    }
  }

  private async open(cluster: string, source: ObjectSource): Promise<ReplicaFold> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    return ReplicaFold.open({ folder: join(this.folder, cluster), cluster, images: storedImages(source, cluster) });
  }

  private async newest(cluster: string): Promise<string> {
    let newest = '';
    for await (const { key } of this.store.list(basesPrefix(cluster))) {
      const named = parseBaseKey(key);
      if (named !== null && place(named) > newest) newest = place(named);
    }
    return newest;
  }

  private book(cluster: string): Book {
    const book = this.books.get(cluster) ?? { fold: null, proved: new Map(), newest: null, stored_bytes: 0, written_bytes: 0 };
    this.books.set(cluster, book);
    return book;
  }
}

/** Sorts as the keys of cuts do. */
const place = ({ generation, epoch }: Pick<CutRef, 'generation' | 'epoch'>): string => `${String(generation).padStart(10, '0')}-${String(epoch).padStart(12, '0')}`;

const runs = ({ stage }: ClusterState): boolean => stage === 'running' || stage === 'stopped';
