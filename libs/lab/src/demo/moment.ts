import type { Phase } from '../report/demo-report.js';
import { all, of, type Fact } from './facts.js';
import { newestEpoch, usualPause } from './phase.js';

/** A moment to strike at: the phase aimed at, and where inside it (0 to 1, from the seed). */
export interface Aim { readonly phase: Phase; readonly within: number }

const EPOCHS_BEFORE = 50; // of history, for where captures end and stores begin
const SYNCING_SPREAD_MS = 60; // a moved VM of the demo's size has its memory within some hundred ms

/**
 * Asked at every new fact: in how many ms to strike, or null for not yet. A strike has to be on its way at once, so a phase is entered at
 * the event that begins it.
 */
export function strikeAt(aim: Aim, victim: string, facts: readonly Fact[]): number | null {
  const latest = facts.at(-1);
  if (latest === undefined) return null;
  const newest = newestEpoch(facts.slice(-400), latest.at_ms);
  const involved = newest?.members.includes(victim) === true;
  switch (aim.phase) {
    case 'idle':
      return of(latest, 'output.released')?.host === victim && newest?.decided === 'committed' ? 2 + aim.within * 8 : null;
    case 'paused':
      return involved && latest.fact.type === 'epoch.opened' ? aim.within * 2 : null;
    case 'captured': {
      if (!involved || latest.fact.type !== 'epoch.opened') return null;
      const pause = (usualPause(facts.slice(-400), victim) ?? 0) + 3;
      const stored = usualStore(facts.slice(-400)).first_ms;
      return pause + aim.within * Math.max(0, stored - pause) * 0.6;
    }
    case 'part-stored': {
      // The report of the first store is heard too late for a phase of some milliseconds: it is foreseen.
      if (!involved || latest.fact.type !== 'epoch.opened' || newest.members.length < 2) return null;
      const { first_ms, last_ms } = usualStore(facts.slice(-400));
      return first_ms + (0.2 + 0.6 * aim.within) * (last_ms - first_ms);
    }
    case 'manifest-not-logged':
      return involved && latest.fact.type === 'segments.stored' && newest.decided === 'open' && newest.stored.size === newest.members.length ? 0 : null;
    case 'committed-not-released': {
      if (!involved) return null;
      if (latest.fact.type === 'epoch.committed') return 0;
      // The agents hear of a commit as soon as we do: it is foreseen from the last store.
      const whole = latest.fact.type === 'segments.stored' && newest.decided === 'open' && newest.stored.size === newest.members.length;
      return whole ? usualCommit(facts.slice(-400)) + 0.5 + aim.within : null;
    }
    case 'syncing':
      return latest.fact.type === 'recovery.completed' ? aim.within * SYNCING_SPREAD_MS : null;
    case 'recovering': {
      const begins = (['generation.raising', 'recovery.planned', 'recovery.loaded'] as const)[Math.min(2, Math.floor(aim.within * 3))];
      return latest.fact.type === begins ? 0 : null;
    }
  }
}

/** Asked when the strike is due: whether what is known by then rules out that the phase aimed at still goes on. */
export function tooLate(aim: Aim, facts: readonly Fact[]): boolean {
  const newest = newestEpoch(facts.slice(-400), Infinity);
  if (newest === null) return false;
  if (aim.phase === 'captured') return newest.stored.size > 0;
  // Committed already, or another epoch has begun meanwhile.
  if (aim.phase === 'committed-not-released') return newest.decided !== 'open' || newest.stored.size < newest.members.length;
  return aim.phase === 'part-stored' && newest.stored.size === newest.members.length;
}

/** From the barrier to the first and to the last host's report that it has stored: medians of late epochs. */
function usualStore(facts: readonly Fact[]): { first_ms: number; last_ms: number } {
  const opened = new Map(all(facts, 'epoch.opened').map(({ fact, data }) => [data.epoch, fact.at_ms]));
  const stored = new Map<number, number[]>();
  for (const { fact, data } of all(facts, 'segments.stored')) {
    const from = opened.get(data.epoch);
    if (from !== undefined) stored.set(data.epoch, [...stored.get(data.epoch) ?? [], fact.at_ms - from]);
  }
  const late = [...stored.values()].slice(-EPOCHS_BEFORE);
  const median = (values: number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
  return { first_ms: median(late.map((times) => Math.min(...times))), last_ms: median(late.map((times) => Math.max(...times))) };
}

/** From the last host's report that it has stored to the commit: the median of late epochs. */
function usualCommit(facts: readonly Fact[]): number {
  const stored = new Map<number, number>();
  for (const { fact, data } of all(facts, 'segments.stored')) stored.set(data.epoch, Math.max(stored.get(data.epoch) ?? 0, fact.at_ms));
  const late = all(facts, 'epoch.committed').flatMap(({ fact, data }) => {
    const from = stored.get(data.epoch);
    return from === undefined ? [] : [Math.max(0, fact.at_ms - from)];
  }).slice(-EPOCHS_BEFORE);
  return late.toSorted((a, b) => a - b)[Math.floor(late.length / 2)] ?? 0;
}
