import { epochTimes } from '../../src/bench/commit.js';
import type { Fact } from '../../src/demo/facts.js';

const fact = (at_ms: number, source: string, type: string, data: object): Fact => ({ at_ms, sequence: at_ms, source, fact: { type, data: { generation: 1, ...data } } as Fact['fact'] });
const stored = (at_ms: number, host: string, epoch: number, over: object = {}) => fact(at_ms, host, 'segments.stored', { host, epoch, segments: [{ kind: 'delta' }], pack: { bytes: 100 }, verified: { checks: 0 }, ...over });
const epoch = (number: number, from_ms: number, more: Fact[]): Fact[] => [
  fact(from_ms, 'decision', 'epoch.opened', { epoch: number, members: [{ host: 'a' }, { host: 'b' }] }), ...more,
  fact(from_ms + 30, 'decision', 'epoch.committed', { epoch: number }), ...['a', 'b'].map((host, i) => fact(from_ms + 33 + i, host, 'output.released', { host, epoch: number })),
];

describe('times of a commit', () => {
  it('go from the barrier to the last host\'s store and release', () => {
    expect(epochTimes(epoch(4, 1000, [stored(1015, 'a', 4), stored(1022, 'b', 4)]))).toEqual([{ epoch: 4, stored_ms: 22, decided_ms: 30, released_ms: 34, bytes: 200 }]);
  });

  it('are not those of epochs with a full segment, with a full compare, or that are not all told of yet', () => {
    expect(epochTimes(epoch(1, 0, [stored(10, 'a', 1, { segments: [{ kind: 'full' }] }), stored(10, 'b', 1)]))).toEqual([]);
    expect(epochTimes(epoch(2, 0, [stored(10, 'a', 2, { verified: { checks: 1 } }), stored(10, 'b', 2)]))).toEqual([]);
    expect(epochTimes(epoch(3, 0, [stored(10, 'a', 3)]))).toEqual([]);
  });
});
