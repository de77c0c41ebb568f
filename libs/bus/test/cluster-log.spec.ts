import { randomUUID } from 'node:crypto';
import type { Decision } from '@virtcft/events';
import { AppendAmbiguous, ClusterLog, LogMismatch, type EventStore } from '../src/index.js';
import { MemoryStore } from './memory-store.js';

const stopped = (by: string): Decision => ({ type: 'cluster.stopped', data: { by } });
const logOf = (store: EventStore, cluster: string) => new ClusterLog<string[]>(store, cluster, [], (state, decision) => [...state, (decision.data as { by: string }).by], () => {});

describe('a decider’s log', () => {
  it('of two deciders lets one append win; the other reads what was first and decides anew', async () => {
    const [store, cluster] = [new MemoryStore(), randomUUID()];
    const [a, b] = [logOf(store, cluster), logOf(store, cluster)];
    expect(await a.append(stopped('a'))).not.toBeNull();
    expect(await b.append(stopped('b'))).toBeNull();
    expect(b.state).toEqual(['a']);
    expect(await b.append(stopped('b'))).not.toBeNull();
    expect((await store.readDecisions(cluster)).map(({ decision }) => (decision.data as { by: string }).by)).toEqual(['a', 'b']);
  });

  it('refuses a decision that was made before the log went on', async () => {
    const [store, cluster] = [new MemoryStore(), randomUUID()];
    const log = logOf(store, cluster);
    const decidedAt = log.tip;
    expect(await log.append(stopped('a'))).not.toBeNull();
    expect(await log.append(stopped('b'), {}, decidedAt)).toBeNull();
    expect((await store.readDecisions(cluster))).toHaveLength(1);
  });

  it('takes each decision once, whether appended or followed', async () => {
    const [store, cluster] = [new MemoryStore(), randomUUID()];
    const log = logOf(store, cluster);
    const mine = await log.append(stopped('a'));
    if (mine !== null) log.take(mine);
    await log.catchUp();
    expect(log.state).toEqual(['a']);
  });

  it('reads the log after an append whose fate is unknown (R13)', async () => {
    const [store, cluster] = [new MemoryStore(), randomUUID()];
    const forgetful = Object.assign(Object.create(store) as MemoryStore, {
      append: async (...args: Parameters<EventStore['append']>) => { await store.append(...args); throw new AppendAmbiguous('no answer', 'read'); },
      followDecisions: (...args: Parameters<EventStore['followDecisions']>) => store.followDecisions(...args),
    });
    const log = logOf(forgetful, cluster);
    expect(await log.append(stopped('a'))).toBeNull();
    expect(log.state).toEqual(['a']);
  });

  it('refuses a decision that does not follow on its last one', async () => {
    const [store, cluster] = [new MemoryStore(), randomUUID()];
    const log = logOf(store, cluster);
    const first = await log.append(stopped('a'));
    expect(first).not.toBeNull();
    if (first !== null) expect(() => log.take({ ...first, sequence: first.sequence + 1 })).toThrow(LogMismatch);
    expect(log.state).toEqual(['a']);
  });
});
