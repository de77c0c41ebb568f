import { planFault } from '../../src/bench/store-faults.js';
import { storeFaultTargets } from '../../src/report/bench-reports.js';

describe('faults of the store', () => {
  const faults = Array.from({ length: 60 }, (_, seed) => planFault(seed));

  it('are the seed\'s: the same again for the same, each server in its turn', () => {
    expect(Array.from({ length: 60 }, (_, seed) => planFault(seed))).toEqual(faults);
    for (const target of storeFaultTargets) expect(faults.filter((fault) => fault.target === target)).toHaveLength(20);
  });

  it('strike at every kind of moment, and last from a moment to seconds', () => {
    expect(new Set(faults.map(({ after }) => after))).toEqual(new Set(['epoch.opened', 'segments.stored', 'epoch.committed']));
    for (const target of storeFaultTargets) expect(new Set(faults.filter((fault) => fault.target === target).map(({ after }) => after)).size).toBe(3);
    for (const { delay_ms, down_ms } of faults) expect(delay_ms >= 0 && delay_ms <= 120 && down_ms >= 200 && down_ms < 4_000).toBe(true);
  });
});
