import { setTimeout as sleep } from 'node:timers/promises';
import type { GuestMemory } from '@virtcft/native';
import { LIMITS } from './limits.js';

/** Where the pages of a lazily restored memory, or the blocks of a disk, come from: page sections of raw and zero kinds. */
export interface PageSource {
  /** Everything, in bounded sections, in the best order the source knows. */
  all(signal: AbortSignal): AsyncIterable<Buffer>;
  /** Pages that are waited for. */
  pages(first: number, count: number): Promise<Buffer>;
}

/** What can be filled while it is in use: native memories and disks. */
export type Fillable = Pick<GuestMemory, 'onWanted' | 'supply' | 'supplyRestAsZero' | 'fillStats'>;

export type FillLog = (message: string, fields?: Readonly<Record<string, string | number | boolean | null>>) => void;

/** The source failed for so long that what is filled from it can never be used. */
export class SourceDead extends Error {
  override readonly name = 'SourceDead';
}

interface PageRun {
  readonly first: number;
  readonly count: number;
}

/**
 * Runs of pages to ask for: every run is aligned, of the size in which neighbours are read along, and within what there is.
 * Pure, so that what a guest's faults cost the network is a table in a test.
 */
export function wantedRuns(pages: Iterable<number>, totalPages: number): PageRun[] {
  const run = LIMITS.wanted_run_pages;
  const starts = new Set<number>();
  for (const page of pages) if (page >= 0 && page < totalPages) starts.add(page - (page % run));
  return [...starts].map((first) => ({ first, count: Math.min(run, totalPages - first) }));
}

/** Brings the pages of a lazily restored memory or disk from their source: everything in the background, and first what the guest waits for. */
export class Fill {
  readonly #memory: Fillable;
  readonly #source: PageSource;
  readonly #totalPages: number;
  readonly #log: FillLog;
  readonly #onDead: (reason: string) => void;
  readonly #abort = new AbortController();
  /** First pages of the runs that are asked for or wait to be. */
  readonly #runs = new Set<number>();
  readonly #queue: PageRun[] = [];
  #underWay = 0;
  #requests = 0;
  readonly #begun_ms = performance.now();
  readonly #supplying = new Set<Promise<unknown>>();
  readonly #complete = Promise.withResolvers<void>();
  #failingSince_ms: number | null = null;
  /** Every page is here. */
  #whole = false;

  /** `onDead` is called once when the source has failed for so long that the guest can never go on. */
  constructor(memory: Fillable, source: PageSource, totalPages: number, log: FillLog, onDead: (reason: string) => void) {
    this.#memory = memory;
    this.#source = source;
    this.#totalPages = totalPages;
    this.#log = log;
    this.#onDead = onDead;
  }

  /** Resolves when the source has sent everything; rejects when it is dead. Never settles after `stop`. */
  get complete(): Promise<void> {
    return this.#complete.promise;
  }

  start(): void {
    // Who does not wait for completion learns of a dead source from `onDead`.
    this.#complete.promise.catch(() => undefined);
    this.#memory.onWanted((pages) => this.#want(pages));
    void this.#fetchAll();
  }

  /** Ends all work. Afterwards the memory may be closed: what the source still sends is dropped, however long it takes. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#memory.onWanted(null);
    await Promise.allSettled(this.#supplying);
  }

  async #fetchAll(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      try {
        for await (const section of this.#source.all(this.#abort.signal)) {
          if (this.#abort.signal.aborted) return;
          await this.#into(this.#memory.supply(section));
        }
        // A source that was told to stop ends early: that is not everything.
        if (this.#abort.signal.aborted) return;
        await this.#into(this.#memory.supplyRestAsZero());
        // Runs that are still asked for have their pages now; the source may have moved on from this cut.
        this.#whole = true;
        const { faults, prefetched } = this.#memory.fillStats();
        this.#log('everything is here', { fill_ms: Math.round(performance.now() - this.#begun_ms), requests: this.#requests, faults, prefetched });
        this.#queue.length = 0;
        this.#complete.resolve();
        return;
      } catch (error) {
        // Starting over is safe: a page that is present is not replaced.
        if (this.#abort.signal.aborted || this.#failed('the background stream of pages broke', error)) return;
        await sleep(LIMITS.source_retry_ms);
      }
    }
  }

  get #over(): boolean { return this.#whole || this.#abort.signal.aborted; }

  #want(pages: Uint32Array): void {
    if (this.#whole) return;
    for (const run of wantedRuns(pages, this.#totalPages)) {
      if (this.#runs.has(run.first)) continue;
      this.#runs.add(run.first);
      this.#queue.push(run);
    }
    this.#next();
  }

  #next(): void {
    while (this.#underWay < LIMITS.wanted_requests && !this.#abort.signal.aborted) {
      const run = this.#queue.shift();
      if (run === undefined) return;
      this.#underWay++;
      void this.#fetchRun(run).finally(() => {
        this.#underWay--;
        this.#runs.delete(run.first);
        this.#next();
      });
    }
  }

  async #fetchRun({ first, count }: PageRun): Promise<void> {
    while (!this.#over) {
      try {
        this.#requests++;
        const section = await this.#source.pages(first, count);
        if (this.#over) return;
        await this.#into(this.#memory.supply(section));
        return;
      } catch (error) {
        if (this.#over || this.#failed(`pages ${first}+${count} were not to be had`, error)) return;
        await sleep(LIMITS.source_retry_ms);
      }
    }
  }

  async #into(supply: Promise<unknown>): Promise<void> {
    this.#supplying.add(supply);
    try {
      await supply;
      this.#failingSince_ms = null;
    } finally {
      this.#supplying.delete(supply);
    }
  }

  /** Notes a failure; true when it is time to give up. */
  #failed(what: string, error: unknown): boolean {
    const now_ms = performance.now();
    this.#failingSince_ms ??= now_ms;
    this.#log(what, { reason: reasonOf(error) });
    if (now_ms - this.#failingSince_ms < LIMITS.source_give_up_ms) return false;
    this.#abort.abort();
    const why = `its page source failed for ${LIMITS.source_give_up_ms} ms, last: ${reasonOf(error)}`;
    this.#complete.reject(new SourceDead(why));
    this.#onDead(why);
    return true;
  }
}

/** Text of anything thrown, for a message. */
function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
