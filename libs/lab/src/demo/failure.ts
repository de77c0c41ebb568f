import type { Failure, FailureKind, Phase } from '../report/demo-report.js';
import { all, type Fact } from './facts.js';

/** A host failed at `at_ms`. */
export interface Kill { readonly host: string; readonly kind: FailureKind; readonly at_ms: number; readonly aimed: Phase; readonly phase: Phase }

export interface RecoveryTimes { readonly detect_ms: number; readonly fence_ms: number; readonly load_ms: number; readonly total_ms: number }

/**
 * The times of the recovery that the kill led to, all from the kill on; null while the log does not say that it ended. When a second failure
 * met the first recovery, both have the end of the recovery that got through.
 */
export function recoveryTimes(facts: readonly Fact[], kill: Kill): (RecoveryTimes & Pick<Failure, 'cut' | 'generation'>) | null {
  const after = facts.filter((fact) => fact.at_ms >= kill.at_ms);
  const raising = all(after, 'generation.raising').find(({ data }) => data.cause.lost.some(({ host }) => host === kill.host));
  if (raising === undefined) return null;
  const completed = all(after, 'recovery.completed').find(({ data }) => data.generation >= raising.data.generation);
  if (completed === undefined) return null;
  const { generation } = completed.data;
  const basis = all(after, 'generation.raised').find(({ data }) => data.generation === generation)?.data.basis;
  const last = (type: 'recovery.stopped' | 'recovery.loaded' | 'recovery.running'): number =>
    Math.max(...all(after, type).filter(({ data }) => data.generation === generation).map(({ fact }) => fact.at_ms)) - kill.at_ms;
  const suspected = all(after, 'host.suspected').find(({ data }) => data.host === kill.host)?.fact.at_ms ?? Infinity;
  if (basis === undefined) return null;
  return {
    detect_ms: round(Math.min(suspected, raising.fact.at_ms) - kill.at_ms), fence_ms: round(last('recovery.stopped')), load_ms: round(last('recovery.loaded')),
    total_ms: round(last('recovery.running')), cut: basis, generation,
  };
}

const round = (value: number): number => Math.round(value * 100) / 100;
