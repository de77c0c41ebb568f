import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError } from '@virtcft/bus';
import {
  allCuts, collectGarbage, ContentUses, CutBroken, cutsPrefix, parseImageKey, pendingPacks, readContentFacts, readCutFacts, readPackUses, removeGarbage, Unreachable,
  type ContentFacts, type CutFacts, type Garbage, type GarbageQuestion,
} from '@virtcft/checkpoint';
import type { Report } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import { pinsOf, retainedCuts, type ClusterState } from '@virtcft/protocol';
import { logger } from '@virtcft/telemetry';
import { z } from 'zod';
import { limits } from './limits.js';
import type { ListedCut } from './replicas.js';

const log = logger('collector');
const Book = z.strictObject({
  format: z.literal('virtcft/garbage/1'),
  /** Key of the newest manifest that was removed, "" when none was. */
  removed_to: z.string().max(400),
  /** Since when each object is garbage. */
  marks: z.record(z.string().max(400), z.number()),
});
type Book = z.infer<typeof Book>;

/** What the log says of a cluster. `since`: older cuts are not in `cuts` any more; "" where none was dropped. */
export interface Told { readonly cluster: string; readonly state: ClusterState; readonly cuts: readonly ListedCut[]; readonly since: string }

export interface CollectionResult {
  readonly dry_run: boolean;
  readonly objects: readonly Garbage[];
  readonly objects_total: number;
  readonly bytes: number;
  readonly waiting_total: number;
  readonly waiting_bytes: number;
  readonly retained: number;
  readonly cuts: number;
}

/** Removes from the store what no retained cut reaches (R23); it alone does. Marks outlive it, so that a grace does. */
export class Collector {
  /** By cluster and cut: facts never change. */
  private readonly facts = new Map<string, Map<string, CutFacts>>();
  /** By cluster and key. */
  private readonly contents = new Map<string, Map<string, ContentFacts>>();
  private readonly stop = new AbortController();
  private readonly gone = new Set<string>();
  private turn: Promise<unknown> = Promise.resolve();
  private running: Promise<void> = Promise.resolve();

  constructor(private readonly store: ObjectStore, private readonly folder: string, private readonly report: (cluster: string, report: Report) => Promise<void>, private readonly grace_ms: number = limits.garbage_grace_ms, private readonly uses = new ContentUses(grace_ms)) {}

  /** By policy, from time to time, until it is closed; a cluster without retention is left alone. */
  run(clusters: () => readonly Told[]): void {
    this.running = (async () => {
      while (!this.stop.signal.aborted) {
        await sleep(limits.garbage_every_ms, undefined, { signal: this.stop.signal, ref: false }).catch(() => undefined);
        for (const { cluster, state: { spec } } of this.stop.signal.aborted ? [] : clusters()) {
          const now = (): Told => clusters().find((each) => each.cluster === cluster) as Told;
          if (spec?.retention !== undefined) await this.collect(now, 'the retention of the cluster file', false).catch((error: unknown) => log.warn({ err: error, cluster }, 'garbage was not collected; it is tried again'));
        }
      }
    })();
  }

  /** Whether this process removed it: who read a listing before may miss it. Kept for the newest, far longer than a listing is used. */
  removed(key: string): boolean {
    return this.gone.has(key);
  }

  /** Those of the log's cuts that must be in the store: a policy that was wider or narrower once may have let older ones go. */
  async expected<T extends { readonly key: string }>(cluster: string, cuts: readonly T[]): Promise<T[]> {
    const { removed_to } = await this.book(cluster);
    return cuts.filter(({ key }) => key > removed_to);
  }

  async close(): Promise<void> {
    this.stop.abort();
    await this.running;
    await this.turn.catch(() => undefined);
  }

  /** Marks garbage, and removes what was marked for a grace; a dry run changes nothing. Throws ApiError `not-now`, `conflict`. */
  async collect(told: () => Told, by: string, dry_run: boolean): Promise<CollectionResult> {
    const turn = this.turn.catch(() => undefined).then(() => this.once(told, by, dry_run));
    this.turn = turn;
    return turn;
  }

  private async once(told: () => Told, by: string, dry_run: boolean): Promise<CollectionResult> {
    // What the log said before the store was listed: what was stored after it is pending, and never judged.
    const { cluster, state, cuts, since } = told();
    settled(state);
    const looked_ms = this.uses.now_ms();
    const [facts, book] = [await this.read(cluster), await this.book(cluster)];
    const objects: { key: string; bytes: number }[] = [];
    // What names chunks after the chunks: who names one meanwhile is seen.
    for (const kind of ['chunks', 'images', 'bases', 'cuts', 'packs']) for await (const object of this.store.list(`${cluster}/${kind}/`)) objects.push(object);
    const contents = await this.readContents(cluster, objects);
    const pending = await this.usesOf(pendingPacks({ objects, generation: state.generation, tip: state.tip }));
    const now = told().state;
    settled(now);
    if (now.generation !== state.generation) throw new ApiError('not-now', 'the generation was raised meanwhile', 'ask again');
    const stored = new Set(facts.map(({ hash }) => hash));
    const pins = pinsOf(state);
    const kept = retainedCuts(cuts.map(({ hash, time }) => ({ hash, time_ms: Date.parse(time) })), state.spec?.retention, pins);
    // What was let go before now may be wanted by a new policy, and is not there; but a pin must be.
    const wanted = [...kept.keys()].filter((hash) => stored.has(hash) || pins.has(hash));
    const unknown = facts.filter(({ key }) => state.spec?.retention === undefined || key < since).map(({ hash }) => hash);
    const { remove, waiting, marks: next } = judged({
      objects, cuts: facts, contents, ...pending, retained: new Set([...wanted, ...unknown]), generation: state.generation, tip: state.tip, marks: new Map(Object.entries(book.marks)), now_ms: Date.now(), grace_ms: this.grace_ms,
    });
    const result = {
      dry_run, objects: remove.slice(0, limits.told_objects), objects_total: remove.length, bytes: sum(remove), waiting_total: waiting.length, waiting_bytes: sum(waiting), retained: new Set([...wanted, ...unknown]).size, cuts: facts.length,
    };
    if (dry_run) return { ...result, objects: [...remove, ...waiting].slice(0, limits.told_objects) };
    const manifests = remove.map(({ key }) => key).filter((key) => key.startsWith(cutsPrefix(cluster)));
    await this.keep(cluster, { ...book, removed_to: [book.removed_to, ...manifests].reduce((a, b) => (a > b ? a : b)), marks: Object.fromEntries(next) });
    if (this.gone.size > limits.remembered_removals) this.gone.clear();
    this.uses.prune(looked_ms);
    // A recovery that begins meanwhile reads in peace, and may have another basis.
    const goOn = (): boolean => !this.stop.signal.aborted && isSettled(told().state) && told().state.generation === state.generation;
    const gone = await removeGarbage(remove, contents, this.uses, looked_ms, {
      remove: async (key) => {
        this.gone.add(key);
        await this.store.remove(key);
      },
    }, goOn);
    if (gone.length > 0) {
      await this.report(cluster, { type: 'objects.removed', data: { by: by.slice(0, 200), objects: gone.length, bytes: sum(gone), keys: gone.slice(0, limits.told_faults).map(({ key }) => key) } });
    }
    return { ...result, objects_total: gone.length, bytes: sum(gone), objects: gone.slice(0, limits.told_objects) };
  }

  private async read(cluster: string): Promise<CutFacts[]> {
    const before = this.facts.get(cluster) ?? new Map<string, CutFacts>();
    const now = new Map<string, CutFacts>();
    try {
      for (const cut of await allCuts(this.store, cluster, [])) {
        this.stop.signal.throwIfAborted();
        now.set(cut.hash, before.get(cut.hash) ?? await readCutFacts(this.store, cut));
      }
    } catch (error) {
      throw error instanceof CutBroken ? unreadable('a manifest', error) : error;
    }
    this.facts.set(cluster, now);
    return [...now.values()];
  }

  /** A base that cannot be read is none: what is behind it is needed then. */
  private async readContents(cluster: string, objects: readonly { readonly key: string }[]): Promise<ContentFacts[]> {
    const before = this.contents.get(cluster) ?? new Map<string, ContentFacts>();
    const now = new Map<string, ContentFacts>();
    for (const { key } of objects) {
      this.stop.signal.throwIfAborted();
      try {
        const facts = before.get(key) ?? await readContentFacts(this.store, key);
        if (facts !== null) now.set(key, facts);
      } catch (error) {
        if (!(error instanceof CutBroken)) throw error;
        if (parseImageKey(key) !== null) throw unreadable('an image', error);
        log.warn({ err: error, cluster, key }, 'a base cannot be read: nothing is removed because of it');
      }
    }
    this.contents.set(cluster, now);
    return [...now.values()];
  }

  private async usesOf(packs: readonly string[]): Promise<Pick<GarbageQuestion, 'pendingImages' | 'pendingReferences'>> {
    try {
      const uses = await Promise.all(packs.map((key) => readPackUses(this.store, key)));
      return { pendingImages: new Set(uses.flatMap(({ images }) => images)), pendingReferences: new Set(uses.flatMap((each) => each.packs)) };
    } catch (error) {
      throw error instanceof CutBroken ? unreadable('a pack', error) : error;
    }
  }

  /** A book that is lost or cannot be read only makes garbage wait again. */
  private async book(cluster: string): Promise<Book> {
    try {
      return Book.parse(JSON.parse(await readFile(join(this.folder, `${cluster}.json`), 'utf8')));
    } catch {
      return { format: 'virtcft/garbage/1', removed_to: '', marks: {} };
    }
  }

  private async keep(cluster: string, book: Book): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const path = join(this.folder, `${cluster}.json`);
    await writeFile(`${path}.new`, JSON.stringify(book));
    await rename(`${path}.new`, path);
  }
}

const unreadable = (what: string, error: CutBroken): ApiError =>
  new ApiError('conflict', `${what} cannot be read, so nothing is removed: ${error.message}`, 'see what is damaged with "virtcft verify --all"', { cause: error });

const sum = (objects: readonly Garbage[]): number => objects.reduce((total, { bytes }) => total + bytes, 0);

const isSettled = ({ stage }: ClusterState): boolean => stage === 'running' || stage === 'stopped';

function settled(state: ClusterState): void {
  if (!isSettled(state)) throw new ApiError('not-now', `the cluster is ${state.stage}: what it goes back to is not known yet`, 'ask again when it runs or is stopped');
}

function judged(question: Parameters<typeof collectGarbage>[0]): ReturnType<typeof collectGarbage> {
  try {
    return collectGarbage(question);
  } catch (error) {
    throw error instanceof Unreachable ? new ApiError('conflict', `nothing is removed: ${error.message}`, 'see what is missing with "virtcft verify --all"', { cause: error }) : error;
  }
}
