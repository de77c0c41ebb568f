import { setTimeout as sleep } from 'node:timers/promises';
import { Fill, LIMITS, wantedRuns, type Fillable, type PageSource } from '../src/index.js';

/** A memory that takes everything, and a guest that waits for page 0. */
function memory(): { memory: Fillable; wait: () => void } {
  let wanted: ((pages: Uint32Array) => void) | null = null;
  const taken = { onWanted: (callback: typeof wanted) => { wanted = callback; }, supply: async () => ({ pages: 1 }), supplyRestAsZero: async () => ({ pages: 0 }), fillStats: () => ({ faults: 0, prefetched: 0 }) };
  return { memory: taken as unknown as Fillable, wait: () => wanted?.(Uint32Array.of(0)) };
}

it('once everything has come, nothing is asked for any more, however the source answers', async () => {
  let asked = 0;
  let everything = (): void => undefined;
  const sent = new Promise<void>((resolve) => { everything = resolve; });
  const source: PageSource = {
    async *all() { await sent; yield Buffer.alloc(1); },
    pages: async () => { asked += 1; throw new Error('it stands at another cut'); },
  };
  const { memory: taken, wait } = memory();
  const dead: string[] = [];
  const fill = new Fill(taken, source, 64, () => undefined, (reason) => { dead.push(reason); });
  fill.start();
  wait();
  await sleep(3 * LIMITS.source_retry_ms);
  expect(asked).toBeGreaterThan(0);
  everything();
  await fill.complete;
  await sleep(2 * LIMITS.source_retry_ms);
  const before = asked;
  wait();
  await sleep(3 * LIMITS.source_retry_ms);
  expect(asked).toBe(before);
  expect(dead).toEqual([]);
  await fill.stop();
});

test('pages that a guest waits for are asked for in aligned runs, once each, within its memory', () => {
  expect(wantedRuns([3, 5, 17, 16], 100)).toEqual([{ first: 0, count: 16 }, { first: 16, count: 16 }]);
  expect(wantedRuns([99, 100, 4_000_000], 100)).toEqual([{ first: 96, count: 4 }]);
});
