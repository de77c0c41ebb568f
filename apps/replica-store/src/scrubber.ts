import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { allCuts, Audit, type Fault } from '@virtcft/checkpoint';
import { Sha256, type CutRef, type Report } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import { logger } from '@virtcft/telemetry';
import { z } from 'zod';
import { limits } from './limits.js';

const log = logger('scrubber');
type CutName = Pick<CutRef, 'key' | 'hash'>;

/** Up to where the store of a cluster was read and compared with its hashes, in this pass. */
const Watermark = z.strictObject({
  format: z.literal('virtcft/scrub/1'),
  begun: z.iso.datetime(),
  /** The newest cut that was read; null at the beginning of a pass. */
  cut: z.strictObject({ key: z.string().max(400), hash: Sha256 }).nullable(),
  /** Keys of the bases that were read in this pass. */
  bases: z.array(z.string().max(400)).default([]),
  /** Keys of damaged objects that were told of: in this pass, and in the one before. */
  faults: z.array(z.string().max(400)), before: z.array(z.string().max(400)),
});
type Watermark = z.infer<typeof Watermark>;

export interface ScrubOptions {
  /** What it may read. */
  readonly bytes_per_ms?: number;
  readonly idle_ms?: number;
  readonly again_ms?: number;
  /** Which of the cuts that the log names must be in the store; all, where nothing is ever removed. */
  readonly expected?: (cluster: string, cuts: readonly CutName[]) => Promise<CutName[]>;
  /** Whether an object was removed as garbage. */
  readonly removed?: (key: string) => boolean;
}

/** Reads in the background, within a budget, what the cuts of all clusters rest on (R18), and tells of each damaged object once in a pass. */
export class Scrubber {
  private readonly stop = new AbortController();
  private running: Promise<void> = Promise.resolve();
  /** By cluster: chunks that were found sound in this pass of this process. */
  private readonly chunks = new Map<string, Map<string, number>>();
  private readonly forget = new Set<string>();

  constructor(private readonly store: ObjectStore, private readonly folder: string, private readonly report: (cluster: string, report: Report) => Promise<void>, private readonly options: ScrubOptions = {}) {}

  /** Until it is closed. */
  run(clusters: () => readonly { readonly cluster: string; readonly cuts: readonly CutName[] }[]): void {
    this.running = this.loop(clusters);
  }

  /** Where it is; null before its first cut. */
  async watermark(cluster: string): Promise<CutName | null> {
    return (await this.read(cluster)).cut;
  }

  /** Keys of the objects that were found damaged, in this pass or the one before: the damage may have been mended since. */
  async damaged(cluster: string): Promise<string[]> {
    const { faults, before } = await this.read(cluster);
    return [...new Set([...before, ...faults])];
  }

  /** All that any cut rests on was read meanwhile, and nothing is wrong: damage that was known is mended. */
  async mended(cluster: string): Promise<void> {
    const at = await this.read(cluster);
    if (at.faults.length + at.before.length === 0) return;
    // A pass that is under way has read them before.
    this.forget.add(cluster);
    await this.write(cluster, { ...at, faults: [], before: [] });
    await this.report(cluster, { type: 'alarm.cleared', data: { alarm: 'object-damaged' } });
  }

  async close(): Promise<void> {
    this.stop.abort();
    await this.running;
  }

  /** Goes on from the watermark to the newest cut. Throws when the store cannot be read; what was read counts. */
  async scrub(cluster: string, known: readonly CutName[]): Promise<void> {
    let at = await this.read(cluster);
    this.forget.delete(cluster);
    if (Date.now() - Date.parse(at.begun) > (this.options.again_ms ?? limits.scrub_again_ms)) {
      if (at.faults.length === 0 && at.before.length > 0) await this.report(cluster, { type: 'alarm.cleared', data: { alarm: 'object-damaged' } });
      at = { ...at, begun: new Date().toISOString(), cut: null, bases: [], faults: [], before: at.faults };
      this.chunks.delete(cluster);
      await this.write(cluster, at);
    }
    const expected = await this.options.expected?.(cluster, known) ?? known;
    const whole = new Set(expected.map(({ key }) => key));
    const listed = await allCuts(this.store, cluster, expected);
    // The watermark's cut is gone, as garbage: where chains end is then found by reading from the first that is left.
    const from = at.cut !== null && listed.some(({ key }) => key === at.cut?.key) ? at.cut : null;
    const cuts = listed.filter(({ key }) => from === null || key > from.key);
    if (cuts.length === 0) return;
    const chunks = this.chunks.get(cluster) ?? new Map<string, number>();
    this.chunks.set(cluster, chunks);
    const audit = new Audit(this.store, cluster, { chunks, visited: (_, bytes) => this.pace(bytes), partial: (key) => !whole.has(key), ...(this.options.removed ? { removed: this.options.removed } : {}) });
    await audit.generations();
    at = await this.note(cluster, at, audit, { bases: await audit.bases(new Set(at.bases)) });
    if (from !== null) await audit.resume(from);
    for (const cut of cuts) {
      await audit.cut(cut);
      if (this.forget.delete(cluster)) at = { ...at, faults: [], before: [] };
      at = await this.note(cluster, at, audit, { cut: { key: cut.key, hash: cut.hash } });
    }
  }

  /** Tells of what is wrong and was not told of yet, and keeps how far it came. */
  private async note(cluster: string, at: Watermark, audit: Audit, come: Partial<Watermark>): Promise<Watermark> {
    const fresh = audit.faults.filter(({ key }) => !at.faults.includes(key));
    if (fresh.length > 0) await this.tell(cluster, fresh);
    const next = { ...at, ...come, faults: [...at.faults, ...new Set(fresh.map(({ key }) => key))].slice(-limits.told_faults) };
    await this.write(cluster, next);
    return next;
  }

  private async tell(cluster: string, faults: readonly Fault[]): Promise<void> {
    for (const { key, part, reason } of faults) {
      log.error({ cluster, key, part, reason }, 'an object of the store is damaged');
      await this.report(cluster, { type: 'object.damaged', data: { key: key.slice(0, 400), part: part.slice(0, 100), reason: reason.slice(0, 500) } });
    }
    const [first] = faults;
    const detail = `${first?.part} of "${first?.key}": ${first?.reason}; "virtcft verify --all" names everything that is damaged and the cuts that cannot be restored`;
    await this.report(cluster, { type: 'alarm.raised', data: { alarm: 'object-damaged', detail: detail.slice(0, 500) } });
  }

  private async loop(clusters: () => readonly { readonly cluster: string; readonly cuts: readonly CutName[] }[]): Promise<void> {
    while (!this.stop.signal.aborted) {
      for (const { cluster, cuts } of clusters()) {
        await this.scrub(cluster, cuts).catch((error: unknown) => {
          if (!this.stop.signal.aborted) log.warn({ err: error, cluster }, 'scrubbing was interrupted; it goes on from its watermark');
        });
      }
      await sleep(this.options.idle_ms ?? limits.scrub_idle_ms, undefined, { signal: this.stop.signal, ref: false }).catch(() => undefined);
    }
  }

  private async pace(bytes: number): Promise<void> {
    this.stop.signal.throwIfAborted();
    await sleep(bytes / (this.options.bytes_per_ms ?? limits.scrub_bytes_per_ms), undefined, { signal: this.stop.signal });
  }

  private path(cluster: string): string {
    return join(this.folder, `${cluster}.json`);
  }

  /** A watermark that is not there or cannot be read only means that a pass begins. */
  private async read(cluster: string): Promise<Watermark> {
    const text = await readFile(this.path(cluster), 'utf8').catch(() => '{}');
    const anew: Watermark = { format: 'virtcft/scrub/1', begun: new Date().toISOString(), cut: null, bases: [], faults: [], before: [] };
    try {
      return Watermark.parse(JSON.parse(text));
    } catch {
      return anew;
    }
  }

  private async write(cluster: string, watermark: Watermark): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    await writeFile(`${this.path(cluster)}.new`, JSON.stringify(watermark));
    await rename(`${this.path(cluster)}.new`, this.path(cluster));
  }
}
