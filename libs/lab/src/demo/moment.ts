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
      const stored = usualStore(facts.slice(-400));
      return pause + aim.within * Math.max(0, stored - pause) * 0.6;
    }
    case 'part-stored':
      return involved && latest.fact.type === 'segments.stored' && newest.decided === 'open' && newest.stored.size > 0 && newest.stored.size < newest.members.length ? 0 : null;
    case 'manifest-not-logged':
      return involved && latest.fact.type === 'segments.stored' && newest.decided === 'open' && newest.stored.size === newest.members.length ? 0 : null;
    case 'committed-not-released':
      return involved && latest.fact.type === 'epoch.committed' ? 0 : null;
    case 'syncing':
      return latest.fact.type === 'recovery.completed' ? aim.within * SYNCING_SPREAD_MS : null;
    case 'recovering': {
      const begins = (['generation.raising', 'recovery.planned', 'recovery.loaded'] as const)[Math.min(2, Math.floor(aim.within * 3))];
      return latest.fact.type === begins ? 0 : null;
    }
  }
}

/** Barrier to the first host's report that it has stored: the median of late epochs. */
function usualStore(facts: readonly Fact[]): number {
  const opened = new Map(all(facts, 'epoch.opened').map(({ fact, data }) => [data.epoch, fact.at_ms]));
  const first = new Map<number, number>();
  for (const { fact, data } of all(facts, 'segments.stored')) {
    const from = opened.get(data.epoch);
    if (from !== undefined && !first.has(data.epoch)) first.set(data.epoch, fact.at_ms - from);
  }
  const sorted = [...first.values()].slice(-EPOCHS_BEFORE).toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
