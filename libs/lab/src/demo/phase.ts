import type { Phase } from '../report/demo-report.js';
import { all, of, type Fact } from './facts.js';

/** Stages of one epoch by what was published until a moment. */
export interface EpochProgress {
  readonly epoch: number;
  readonly opened_ms: number;
  readonly members: readonly string[];
  readonly stored: ReadonlySet<string>;
  readonly released: ReadonlySet<string>;
  readonly decided: 'open' | 'committed' | 'aborted';
}

/** The newest epoch opened at or before `at_ms`, or null. */
export function newestEpoch(facts: readonly Fact[], at_ms: number): EpochProgress | null {
  const until = facts.filter((fact) => fact.at_ms <= at_ms);
  const opened = all(until, 'epoch.opened').at(-1);
  if (opened === undefined) return null;
  const { generation, epoch, members } = opened.data;
  const same = (data: { generation: number; epoch: number }): boolean => data.generation === generation && data.epoch === epoch;
  const hosts = (type: 'segments.stored' | 'output.released'): Set<string> => new Set(all(until, type).filter(({ data }) => same(data)).map(({ data }) => data.host));
  const decided = until.some((fact) => { const data = of(fact, 'epoch.committed'); return data !== null && same(data); }) ? 'committed'
    : until.some((fact) => { const data = of(fact, 'epoch.aborted'); return data !== null && same(data); }) ? 'aborted' : 'open';
  return { epoch, opened_ms: opened.fact.at_ms, members: members.map(({ host }) => host), stored: hosts('segments.stored'), released: hosts('output.released'), decided };
}

/** The longest pause of each of the host's cuts, the median of them: how long after a barrier its VMs stand still. Null without one. */
export function usualPause(facts: readonly Fact[], host: string): number | null {
  const pauses = all(facts, 'segments.stored').filter(({ data }) => data.host === host && data.verified.checks === 0)
    .map(({ data }) => Math.max(0, ...data.pauses.map(({ pause_ms }) => pause_ms))).toSorted((a, b) => a - b);
  return pauses[Math.floor(pauses.length / 2)] ?? null;
}

/** True between a raise and the end of its recovery. */
export function recoveringAt(facts: readonly Fact[], at_ms: number): boolean {
  let raising = false;
  for (const fact of facts) {
    if (fact.at_ms > at_ms) continue;
    if (fact.fact.type === 'generation.raising') raising = true;
    if (fact.fact.type === 'recovery.completed') raising = false;
  }
  return raising;
}

/**
 * What the cluster was doing when `victim` died at `at_ms`, by what had been published until then. `filling`: a moved VM had not yet all of
 * its memory.
 */
export function phaseAt(facts: readonly Fact[], victim: string, at_ms: number, filling: boolean): Phase {
  if (recoveringAt(facts, at_ms)) return 'recovering';
  if (filling) return 'syncing';
  const newest = newestEpoch(facts, at_ms);
  if (newest === null || newest.decided === 'aborted') return 'idle';
  if (newest.decided === 'committed') return !newest.members.includes(victim) || newest.released.has(victim) ? 'idle' : 'committed-not-released';
  if (newest.stored.size >= newest.members.length) return 'manifest-not-logged';
  if (newest.stored.size > 0) return 'part-stored';
  const until = facts.filter((fact) => fact.at_ms <= at_ms);
  return at_ms - newest.opened_ms <= (usualPause(until, victim) ?? 0) + BARRIER_TRAVEL_MS ? 'paused' : 'captured';
}

/** From the barrier's append to the stop on the host: bus delivery, hold, the order to stop. */
const BARRIER_TRAVEL_MS = 2;
