import { setTimeout as sleep } from 'node:timers/promises';
import type { GuestMemory } from '@virtcft/native';
import { Fill } from '../src/drivers/qemu/fill.js';
import { LIMITS } from '../src/drivers/qemu/limits.js';
import type { PageSource } from '../src/index.js';

/** A memory that takes everything, and a guest that waits for page 0. */
function memory(): { memory: GuestMemory; wait: () => void } {
  let wanted: ((pages: Uint32Array) => void) | null = null;
  const taken = { onWanted: (callback: typeof wanted) => { wanted = callback; }, supply: async () => ({ pages: 1 }), supplyRestAsZero: async () => ({ pages: 0 }), fillStats: () => ({ faults: 0, prefetched: 0 }) };
  return { memory: taken as unknown as GuestMemory, wait: () => wanted?.(Uint32Array.of(0)) };
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
