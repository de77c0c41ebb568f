import { setImmediate as turn } from 'node:timers/promises';
import { ReadAhead } from '../src/read-ahead.js';

/** Loads that end when they are told, and what has begun of them. */
function loads(...sizes: number[]) {
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const list = sizes.map((bytes, at) => ({ bytes, load: async () => {
    begun.push(at);
    await new Promise<void>((end) => { ends[at] = end; });
    return at;
  } }));
  return { list, begun, end: (at: number) => ends[at]?.() };
}

describe('reading ahead', () => {
  it('gives in order what ends in any order', async () => {
    const { list, end } = loads(1, 1, 1);
    const ahead = new ReadAhead(list, { reads: 8, bytes: 100 });
    for (const at of [2, 0, 1]) end(at);
    expect([await ahead.take(), await ahead.take(), await ahead.take(), await ahead.take()]).toEqual([0, 1, 2, undefined]);
  });

  it('has no more under way than reads and bytes allow, and one always', async () => {
    const { list, begun, end } = loads(10, 60, 60, 500, 10, 10, 10, 10);
    const ahead = new ReadAhead(list, { reads: 3, bytes: 100 });
    expect(begun).toEqual([0, 1]);
    const taken: (number | undefined)[] = [];
    for (const seen of [[0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]]) {
      const next = ahead.take();
      expect(begun).toEqual(seen);
      end(taken.length);
      taken.push(await next);
    }
    expect(taken).toEqual([0, 1, 2, 3]);
  });

  it('begins with as few as it is told, for who may soon have enough', async () => {
    const { list, begun, end } = loads(1, 1, 1, 1, 1, 1);
    const ahead = new ReadAhead(list, { reads: 2, bytes: 100, begin: 0 });
    expect(begun).toEqual([]);
    for (const [at, seen] of [[0, [0]], [1, [0, 1, 2]], [2, [0, 1, 2, 3, 4]], [3, [0, 1, 2, 3, 4, 5]]] as const) {
      const next = ahead.take();
      end(at);
      await next;
      expect(begun).toEqual(seen);
    }
  });

  it('fails for who takes what failed, and for nobody else', async () => {
    const failing = { bytes: 1, load: (): number => { throw new Error('it is damaged'); } };
    const ahead = new ReadAhead([{ bytes: 1, load: () => 7 }, failing, failing], { reads: 8, bytes: 100 });
    await turn();
    expect(await ahead.take()).toBe(7);
    await expect(ahead.take()).rejects.toThrow('it is damaged');
  });
});
