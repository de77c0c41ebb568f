import { randomUUID } from 'node:crypto';
import type { Decision, Report } from '@virtcft/events';
import { AppendConflict, type EventStore, type LogTip, type StoredDecision, type StoredReport } from '../src/index.js';

export const resumed = (generation: number): Decision => ({ type: 'recovery.resumed', data: { generation } });
export const suspected = (host: string, silent_ms = 400): Report => ({ type: 'host.suspected', data: { host, agent: randomUUID(), generation: 1, silent_ms, witnesses: [] } });
export const tipOf = (stored: StoredDecision | undefined): LogTip => ({ expected: stored?.sequence ?? 0, previous: stored?.hash ?? null });
export const start: LogTip = { expected: 0, previous: null };

/** Appends generations from..to, one behind the other. */
export async function appendRun(store: EventStore, cluster: string, from: number, to: number, at: LogTip = start): Promise<LogTip> {
  let tip = at;
  for (let generation = from; generation <= to; generation++) tip = tipOf(await store.append(cluster, resumed(generation), tip));
  return tip;
}

export const generations = (decisions: readonly StoredDecision[]): number[] => decisions.map(({ decision }) => (decision.data as { generation: number }).generation);

/** Resolves when `count` items have come; ends the follow. */
export function collect<T>(count: number, follow: (signal: AbortSignal, handler: (item: T) => void) => Promise<void>): Promise<T[]> {
  const items: T[] = [];
  const done = new AbortController();
  return follow(done.signal, (item) => { items.push(item); if (items.length === count) done.abort(); }).then(() => items);
}

/** What every event store keeps, whatever holds it. */
export function eventStoreContract(name: string, open: () => Promise<EventStore>): void {
  describe(`event store: ${name}`, () => {
    it('an empty log reads as nothing', async () => {
      expect(await (await open()).readDecisions(randomUUID())).toEqual([]);
    });

    it('what was appended is read in order, each entry naming the hash of the one before', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      await appendRun(store, cluster, 1, 20);
      const log = await store.readDecisions(cluster);
      expect(generations(log)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
      expect(log.map((entry) => entry.previous)).toEqual([null, ...log.slice(0, -1).map((entry) => entry.hash)]);
      expect(new Set(log.map((entry) => entry.hash)).size).toBe(20);
    });

    it('an append tells what a read tells', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
      const appended = await store.append(cluster, resumed(7), start, { traceparent });
      expect(await store.readDecisions(cluster)).toEqual([appended]);
      expect(appended).toMatchObject({ cluster, previous: null, decision: resumed(7), trace: { traceparent } });
    });

    it('R13: of many deciders at one tip exactly one wins, the others append nothing', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      const tip = await appendRun(store, cluster, 1, 3);
      const outcomes = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => store.append(cluster, resumed(100 + i), tip)));
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(AppendConflict);
      expect(await store.readDecisions(cluster)).toHaveLength(4);
    });

    it('an append behind an old tip is a conflict, also at the very beginning', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      await appendRun(store, cluster, 1, 2);
      await expect(store.append(cluster, resumed(9), start)).rejects.toBeInstanceOf(AppendConflict);
    });

    it('clusters do not disturb each other', async () => {
      const [store, one, other] = [await open(), randomUUID(), randomUUID()];
      let tips = [start, start];
      for (let i = 1; i <= 5; i++) tips = [await appendRun(store, one, i, i, tips[0]), await appendRun(store, other, i * 10, i * 10, tips[1])];
      expect(generations(await store.readDecisions(one))).toEqual([1, 2, 3, 4, 5]);
      expect(generations(await store.readDecisions(other))).toEqual([10, 20, 30, 40, 50]);
    });

    it('a follower gets the past, is told once that it caught up, then gets what comes, with no gap', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      const tip = await appendRun(store, cluster, 1, 5);
      let [caught, counted, seen] = [0, 0, 0];
      const items = collect<StoredDecision>(10, (signal, handler) => store.followDecisions({
        cluster, signal,
        caughtUp: () => { caught++; seen = counted; void appendRun(store, cluster, 6, 10, tip); },
      }, (item) => { counted++; handler(item); }));
      expect(generations(await items)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      expect([caught, seen]).toEqual([1, 5]);
    });

    it('a follower of an empty log catches up at once', async () => {
      const [store, done] = [await open(), new AbortController()];
      let caught = 0;
      await store.followDecisions({ cluster: randomUUID(), signal: done.signal, caughtUp: () => { caught++; done.abort(); } }, () => { throw new Error('nothing is there'); });
      expect(caught).toBe(1);
    });

    it('a follower can begin in the middle', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      await appendRun(store, cluster, 1, 6);
      const fourth = (await store.readDecisions(cluster))[3];
      const items = await collect<StoredDecision>(3, (signal, handler) => store.followDecisions({ cluster, from: fourth?.sequence ?? 0, signal }, handler));
      expect(generations(items)).toEqual([4, 5, 6]);
    });

    it('a follower can begin at a time', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      const tip = await appendRun(store, cluster, 1, 3);
      await new Promise((resolve) => setTimeout(resolve, 20));
      const from = new Date();
      await new Promise((resolve) => setTimeout(resolve, 20));
      await appendRun(store, cluster, 4, 5, tip);
      expect(generations(await collect<StoredDecision>(2, (signal, handler) => store.followDecisions({ cluster, from, signal }, handler)))).toEqual([4, 5]);
    });

    it('the next decision waits until the handler is done with the one before', async () => {
      const [store, cluster, done] = [await open(), randomUUID(), new AbortController()];
      await appendRun(store, cluster, 1, 10);
      let [running, most, count] = [0, 0, 0];
      await store.followDecisions({ cluster, signal: done.signal }, async () => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setImmediate(resolve));
        running--;
        if (++count === 10) done.abort();
      });
      expect([most, count]).toEqual([1, 10]);
    });

    it('a handler that throws ends its follow with that error', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      await appendRun(store, cluster, 1, 2);
      await expect(store.followDecisions({ cluster, signal: new AbortController().signal }, () => { throw new Error('cannot fold'); })).rejects.toThrow('cannot fold');
    });

    it('reports come in order with their source; a follower of new ones does not get the past', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      await store.report(cluster, 'host-a', suspected('x', 1));
      const all = collect<StoredReport>(4, (signal, handler) => store.followReports({ cluster, from: 'all', signal }, handler));
      let fresh: Promise<StoredReport[]> | undefined;
      await new Promise<void>((ready) => {
        fresh = collect<StoredReport>(3, (signal, handler) => store.followReports({ cluster, from: 'new', signal, caughtUp: ready }, handler));
      });
      for (const [source, silent_ms] of [['host-b', 2], ['host-a', 3], ['failover', 4]] as const) await store.report(cluster, source, suspected('x', silent_ms));
      const told = (items: readonly StoredReport[]): unknown[] => items.map(({ source, report }) => [source, (report.data as { silent_ms: number }).silent_ms]);
      expect(told(await all)).toEqual([['host-a', 1], ['host-b', 2], ['host-a', 3], ['failover', 4]]);
      expect(told((await fresh) ?? [])).toEqual([['host-b', 2], ['host-a', 3], ['failover', 4]]);
    });

    it('reports since a date: those before it stay out', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      await store.report(cluster, 'host-a', suspected('x', 1));
      await new Promise((resolve) => setTimeout(resolve, 20));
      const since = new Date();
      for (const silent_ms of [2, 3]) await store.report(cluster, 'host-a', suspected('x', silent_ms));
      const items = await collect<StoredReport>(2, (signal, handler) => store.followReports({ cluster, from: since, signal }, handler));
      expect(items.map(({ report }) => (report.data as { silent_ms: number }).silent_ms)).toEqual([2, 3]);
    });

    it('what does not fit its schema is refused before it is stored', async () => {
      const [store, cluster] = [await open(), randomUUID()];
      await expect(store.append(cluster, resumed(0), start)).rejects.toThrow(/recovery.resumed does not fit/);
      await expect(store.report(cluster, 'a', suspected('Not A Name'))).rejects.toThrow(/host.suspected does not fit/);
      expect(await store.readDecisions(cluster)).toEqual([]);
    });
  });
}
