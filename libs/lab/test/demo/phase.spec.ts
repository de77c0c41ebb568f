import { recoveryTimes } from '../../src/demo/failure.js';
import { strikeAt, tooLate } from '../../src/demo/moment.js';
import { phaseAt } from '../../src/demo/phase.js';
import { phases, type Phase } from '../../src/report/demo-report.js';
import { Log } from './story-facts.js';

const log = (): Log => new Log().epoch(1, 0).epoch(2, 100);

describe('phase of a failure, by the log', () => {
  it.each<[number, Phase]>([
    [101, 'paused'], [107, 'captured'], [115, 'part-stored'], [125, 'manifest-not-logged'], [130, 'committed-not-released'], [131, 'idle'], [180, 'idle'],
  ])('at %i ms it is %s', (at_ms, phase) => {
    expect(phaseAt(log().facts, 'host-a', at_ms, false)).toBe(phase);
  });

  it('an aborted epoch leaves the cluster idle', () => {
    const facts = log().epoch(3, 200, 2).decide(230, 'epoch.aborted', { generation: 1, epoch: 3, reason: 'late', missing: ['host-b'] }).facts;
    expect(phaseAt(facts, 'host-a', 240, false)).toBe('idle');
  });

  it('a moved VM that fills is syncing, and a recovery comes before all', () => {
    const facts = log().decide(300, 'generation.raising', { generation: 2, cause: { lost: [] } }).facts;
    expect(phaseAt(facts, 'host-a', 250, true)).toBe('syncing');
    expect(phaseAt(facts, 'host-a', 310, true)).toBe('recovering');
  });

  it('a host without VMs has nothing to release', () => {
    expect(phaseAt(log().epoch(3, 200, 4).facts, 'host-c', 231, false)).toBe('idle');
  });
});

describe('the moment to strike', () => {
  const moments: Record<Exclude<Phase, 'syncing' | 'recovering'>, number> = { paused: 1, captured: 1, 'part-stored': 1, 'manifest-not-logged': 3, 'committed-not-released': 3, idle: 5 };

  it.each(Object.entries(moments))('%s begins with event %i of an epoch and with no earlier one', (phase, step) => {
    for (let steps = 1; steps <= step; steps += 1) {
      const at = strikeAt({ phase: phase as Phase, within: 0.5 }, 'host-a', log().epoch(3, 200, steps).facts);
      expect(at === null).toBe(steps < step);
    }
  });

  it('captured lies between the usual pause and the usual store', () => {
    for (const within of [0, 0.5, 1]) {
      const at = strikeAt({ phase: 'captured', within }, 'host-a', log().epoch(3, 200, 1).facts) ?? 0;
      expect(at).toBeGreaterThan(4);
      expect(at).toBeLessThan(10);
    }
  });

  it('part-stored lies between the usual first and last store, and is given up when all have stored', () => {
    for (const within of [0, 0.5, 1]) {
      const at = strikeAt({ phase: 'part-stored', within }, 'host-a', log().epoch(3, 200, 1).facts) ?? 0;
      expect(at).toBeGreaterThan(10);
      expect(at).toBeLessThan(20);
    }
    expect(tooLate({ phase: 'part-stored', within: 0 }, log().epoch(3, 200, 2).facts)).toBe(false);
    expect(tooLate({ phase: 'part-stored', within: 0 }, log().epoch(3, 200, 3).facts)).toBe(true);
    expect(tooLate({ phase: 'captured', within: 0 }, log().epoch(3, 200, 2).facts)).toBe(true);
    expect(tooLate({ phase: 'captured', within: 0 }, log().epoch(3, 200, 1).facts)).toBe(false);
  });

  it('committed-not-released is foreseen from the last store, and begins at the commit at the latest', () => {
    const aim = { phase: 'committed-not-released', within: 0 } as const;
    expect(strikeAt(aim, 'host-a', log().epoch(3, 200, 3).facts)).toBeCloseTo(10.5);
    expect(strikeAt(aim, 'host-a', log().epoch(3, 200, 4).facts)).toBe(0);
    expect(tooLate(aim, log().epoch(3, 200, 3).facts)).toBe(false);
    expect(tooLate(aim, log().epoch(3, 200, 4).facts)).toBe(true);
    expect(tooLate(aim, log().epoch(3, 200, 3).epoch(4, 300, 1).facts)).toBe(true);
  });

  it('recovering begins in one of the stages, by where inside the phase it aims', () => {
    const raising = log().decide(300, 'generation.raising', { generation: 2, cause: { lost: [] } });
    expect(strikeAt({ phase: 'recovering', within: 0 }, 'host-b', raising.facts)).toBe(0);
    expect(strikeAt({ phase: 'recovering', within: 0.5 }, 'host-b', raising.facts)).toBeNull();
    expect(strikeAt({ phase: 'recovering', within: 0.5 }, 'host-b', raising.decide(310, 'recovery.planned', { generation: 2 }).facts)).toBe(0);
  });

  it('no phase begins when nothing has happened', () => {
    for (const phase of phases) expect(strikeAt({ phase, within: 0.5 }, 'host-a', [])).toBeNull();
  });
});

describe('times of a recovery', () => {
  const kill = { host: 'host-a', at_ms: 205, aimed: 'captured', phase: 'captured' } as const;
  const basis = { key: 'k', hash: 'h', generation: 1, epoch: 2 };
  const recovered = (): Log => log().epoch(3, 200, 1)
    .report(600, 'host.suspected', { host: 'host-a', agent: 'a', generation: 1 })
    .decide(610, 'generation.raising', { generation: 2, cause: { lost: [{ host: 'host-a', agent: 'a' }] } })
    .report(615, 'recovery.stopped', { host: 'host-b', generation: 2 }).report(618, 'recovery.stopped', { host: 'host-c', generation: 2 })
    .decide(620, 'generation.raised', { generation: 2, basis })
    .report(700, 'recovery.loaded', { host: 'host-b', generation: 2 }).report(750, 'recovery.loaded', { host: 'host-c', generation: 2 })
    .report(800, 'recovery.running', { host: 'host-b', generation: 2 }).report(805, 'recovery.running', { host: 'host-c', generation: 2 });

  it('count from the kill, to the last host of each stage', () => {
    expect(recoveryTimes(recovered().decide(810, 'recovery.completed', { generation: 2 }).facts, kill))
      .toEqual({ detect_ms: 395, fence_ms: 413, load_ms: 545, total_ms: 600, cut: basis, generation: 2 });
  });

  it('are not known before the recovery ends', () => {
    expect(recoveryTimes(recovered().facts, kill)).toBeNull();
  });

  it('of a host that was already dead in an earlier generation are not taken for its new death', () => {
    expect(recoveryTimes(recovered().decide(810, 'recovery.completed', { generation: 2 }).facts, { ...kill, host: 'host-b' })).toBeNull();
  });
});
