import fc from 'fast-check';
import { streamRuns } from '../src/stream-runs.js';

describe('runs of a restore stream', () => {
  it('are one per window, from its first to its last page with data', () => {
    expect(streamRuns(Uint32Array.of(), 4)).toEqual([]);
    expect(streamRuns(Uint32Array.of(0, 1, 2, 1, 5, 2), 4)).toEqual([{ first: 0, count: 3 }, { first: 5, count: 2 }]);
    expect(streamRuns(Uint32Array.of(3, 6), 4)).toEqual([{ first: 3, count: 1 }, { first: 4, count: 4 }, { first: 8, count: 1 }]);
  });

  it('hold every page of every extent, each once, within its window and in order', () => {
    const extents = fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 100 })), { maxLength: 30 }).map((pieces) => {
      let at = 0;
      return pieces.flatMap(([gap, count]) => { const first = at + gap; at = first + count; return [first, count]; });
    });
    fc.assert(fc.property(extents, fc.integer({ min: 1, max: 64 }), (flat, window) => {
      const runs = streamRuns(Uint32Array.from(flat), window);
      const read = runs.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i));
      const wanted = flat.flatMap((value, i) => (i % 2 === 0 ? Array.from({ length: flat[i + 1] ?? 0 }, (_, j) => value + j) : []));
      expect(new Set(read).size).toBe(read.length);
      expect(read).toEqual([...read].sort((a, b) => a - b));
      for (const page of wanted) expect(read).toContain(page);
      for (const { first, count } of runs) expect(Math.floor(first / window)).toBe(Math.floor((first + count - 1) / window));
    }), { numRuns: 100 });
  });
});
