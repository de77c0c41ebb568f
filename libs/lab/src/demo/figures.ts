import { distribution } from '../report/distribution.js';
import type { DemoReport } from '../report/demo-report.js';
import { all, type Fact } from './facts.js';

const PAGE_BYTES = 4096;

/** Figures of the epochs from what agents reported. First full captures and cuts with a full compare say nothing about a steady epoch. */
export function epochFigures(facts: readonly Fact[], gaps_ms: readonly number[]): DemoReport['epochs'] {
  const stored = all(facts, 'segments.stored');
  const steady = stored.filter(({ data }) => data.verified.checks === 0 && data.segments.every(({ kind }) => kind === 'delta'));
  const perEpoch = (value: (data: (typeof stored)[number]['data']) => number): number[] => {
    const sums = new Map<number, number>();
    for (const { data } of steady) sums.set(data.epoch, (sums.get(data.epoch) ?? 0) + value(data));
    return [...sums.values()];
  };
  return {
    committed: all(facts, 'epoch.committed').length, aborted: all(facts, 'epoch.aborted').length,
    pause_ms: distribution(steady.flatMap(({ data }) => data.pauses.map(({ pause_ms }) => pause_ms))), gap_ms: distribution(gaps_ms),
    commit_ms: distribution(all(facts, 'output.released').map(({ data }) => data.commit_ms)),
    dirty_bytes: distribution(perEpoch(({ segments }) => segments.reduce((sum, { dirty_pages }) => sum + dirty_pages * PAGE_BYTES, 0))),
    stored_bytes: distribution(perEpoch(({ pack }) => pack.bytes)),
  };
}
