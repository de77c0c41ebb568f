import { all, of, type Fact } from '../demo/facts.js';
import type { Oracle } from './oracle.js';

const CLOCK_GRAIN_MS = 2; // events carry whole milliseconds, and two processes' clocks are read at different moments
const PROTECTED_AGAIN_MS = 15_000; // far above any sound recovery: this asks whether, not how fast

/** Decisions in the order of the log. */
const decisions = (facts: readonly Fact[]): Fact[] => facts.filter(({ source }) => source === 'decision').toSorted((a, b) => a.sequence - b.sequence);

/** I2 as the log shows it: output of an epoch is released only after a cut of its generation that covers it was committed. */
export function auditReleases(facts: readonly Fact[], oracle: Oracle): void {
  const committed = all(decisions(facts), 'epoch.committed');
  for (const { fact, data } of all(facts, 'output.released')) {
    const covered = committed.some((commit) => commit.data.generation === data.generation && commit.data.epoch >= data.epoch && commit.fact.at_ms <= fact.at_ms + CLOCK_GRAIN_MS);
    oracle.check(covered, () => `${data.host} released epoch ${data.generation}-${data.epoch} before a cut that covers it was committed`);
  }
}

/** I3 as the log shows it: after a raise nothing of an older generation is opened, committed or planned, and cuts follow each other by hash. */
export function auditOneVoice(facts: readonly Fact[], oracle: Oracle): void {
  let highest = 0;
  let tip: string | null = null;
  for (const fact of decisions(facts)) {
    const raising = of(fact, 'generation.raising');
    if (raising !== null) {
      oracle.check(raising.generation > highest, () => `generation ${raising.generation} was raised after ${highest}`);
      highest = Math.max(highest, raising.generation);
    }
    const started = of(fact, 'cluster.started');
    if (started !== null) highest = Math.max(highest, started.generation);
    const raised = of(fact, 'generation.raised');
    if (raised !== null) tip = raised.basis.hash;
    const opened = of(fact, 'epoch.opened') ?? of(fact, 'epoch.committed');
    if (opened !== null) oracle.check(opened.generation === highest, () => `${fact.fact.type} ${opened.generation}-${opened.epoch} after generation ${highest} was asked for`);
    const committed = of(fact, 'epoch.committed');
    if (committed === null) continue;
    const before = tip;
    oracle.check(committed.previous === before, () => `cut ${committed.generation}-${committed.epoch} follows ${committed.previous ?? 'nothing'} instead of ${before ?? 'nothing'}`);
    tip = committed.cut.hash;
  }
}

/** I5 as the agents counted it: guests compared in full with what was captured. */
export function auditPages(facts: readonly Fact[], oracle: Oracle): void {
  for (const { data } of all(facts, 'segments.stored')) {
    if (data.verified.checks === 0) continue;
    oracle.count(data.verified.checks, data.verified.differing, () => `${data.host}, epoch ${data.generation}-${data.epoch}: ${data.verified.differing} pages differ from what was captured`);
  }
}

/** I6: each recovery is followed by a commit of its generation. */
export function auditProtectedAgain(facts: readonly Fact[], oracle: Oracle): void {
  const raisings = all(facts, 'generation.raising');
  const committed = all(facts, 'epoch.committed');
  for (const { fact, data } of all(facts, 'recovery.completed')) {
    const cutShort = raisings.some((raising) => raising.data.generation > data.generation && raising.fact.at_ms < fact.at_ms + PROTECTED_AGAIN_MS);
    const again = committed.some((commit) => commit.data.generation === data.generation && commit.fact.at_ms <= fact.at_ms + PROTECTED_AGAIN_MS);
    // A failure straight after a recovery may leave no time for a commit; the next recovery is judged then.
    if (!again && cutShort) continue;
    oracle.check(again, () => `no cut was committed within ${PROTECTED_AGAIN_MS} ms after the recovery to generation ${data.generation}`);
  }
}

/** Alarms that are raised and not cleared. */
export function standingAlarms(facts: readonly Fact[]): ReadonlySet<string> {
  const standing = new Set<string>();
  for (const fact of facts) {
    const raised = of(fact, 'alarm.raised');
    const cleared = of(fact, 'alarm.cleared');
    if (raised !== null) standing.add(raised.alarm);
    if (cleared !== null) standing.delete(cleared.alarm);
  }
  return standing;
}
