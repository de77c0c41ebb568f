import { Oracle } from '../../src/oracles/oracle.js';
import { auditOneVoice, auditPages, auditProtectedAgain, auditReleases, standingAlarms } from '../../src/oracles/log-audit.js';
import { BankOracles } from '../../src/oracles/bank.js';
import { BlockPattern } from '../../src/oracles/block-pattern.js';
import { MemoryPattern } from '../../src/oracles/memory-pattern.js';
import { Messages } from '../../src/oracles/messages.js';
import { Remembered } from '../../src/oracles/remembered.js';
import { WokenHost } from '../../src/oracles/woken-host.js';
import type { BankStatus, BlocksStatus, VectorStatus } from '../../src/guest-control.js';
import { Log } from '../demo/story-facts.js';

const oracle = (min = 1): Oracle => new Oracle('I0', 'something', min);
const sound = (): Log => new Log().epoch(1, 0).epoch(2, 100).epoch(3, 200);
const raised = (log: Log, at_ms: number, basis: string): Log => log
  .decide(at_ms, 'generation.raising', { generation: 2, cause: { lost: [] } })
  .decide(at_ms + 5, 'generation.raised', { generation: 2, basis: { key: 'k', hash: basis, generation: 1, epoch: 3 } })
  .decide(at_ms + 20, 'recovery.completed', { generation: 2 });

it('an oracle that was asked too seldom does not hold', () => {
  const asked = oracle(2);
  asked.check(true, () => 'never');
  expect(asked.holds).toBe(false);
  asked.check(true, () => 'never');
  expect(asked.holds).toBe(true);
  asked.check(false, () => 'seen otherwise');
  expect(asked.verdict()).toMatchObject({ checks: 3, violations: 1, detail: ['seen otherwise'] });
});

describe('I2 in the log', () => {
  const judge = (log: Log): number => { const found = oracle(); auditReleases(log.facts, found); return found.violations; };
  it('holds when commits come first', () => { expect(judge(sound())).toBe(0); });
  it('finds a release without a commit, and one before it', () => {
    expect(judge(sound().report(290, 'output.released', { host: 'host-a', generation: 1, epoch: 4 }))).toBe(1);
    expect(judge(new Log().report(5, 'output.released', { host: 'host-a', generation: 1, epoch: 1 }).epoch(1, 0))).toBe(1);
  });
});

describe('I3 in the log', () => {
  const judge = (log: Log): number => { const found = oracle(); auditOneVoice(log.facts, found); return found.violations; };
  const started = (): Log => new Log().decide(-1, 'cluster.started', { generation: 1 }).epoch(1, 0).epoch(2, 100).epoch(3, 200);
  it('finds an old generation that opens and commits after a raise', () => {
    expect(judge(raised(started(), 300, 'h1-3'))).toBe(0);
    expect(judge(raised(started(), 300, 'h1-3').epoch(4, 400))).toBeGreaterThan(0);
  });
  it('finds a cut that follows another than the newest', () => {
    const log = started().decide(350, 'epoch.committed', { generation: 1, epoch: 4, cut: { hash: 'x' }, previous: 'h1-1' });
    expect(judge(log)).toBe(1);
  });
});

describe('I5 and I6 in the log', () => {
  it('counts pages that differ', () => {
    const found = oracle();
    auditPages(sound().report(400, 'segments.stored', { host: 'host-a', generation: 1, epoch: 4, verified: { checks: 2, differing: 1 } }).facts, found);
    expect(found.verdict()).toMatchObject({ checks: 2, violations: 1 });
  });
  it('finds a recovery without a cut after it', () => {
    const [bad, good] = [oracle(), oracle()];
    auditProtectedAgain(raised(sound(), 300, 'h1-3').facts, bad);
    auditProtectedAgain(raised(sound(), 300, 'h1-3').epoch(5, 400, 6, 2).facts, good);
    expect([bad.holds, good.holds]).toEqual([false, true]);
  });
  it('knows which alarms stand', () => {
    const log = new Log().report(1, 'alarm.raised', { alarm: 'no-spare', detail: '' }).report(2, 'alarm.raised', { alarm: 'straggler', detail: '' }).report(3, 'alarm.cleared', { alarm: 'no-spare' });
    expect([...standingAlarms(log.facts)]).toEqual(['straggler']);
  });
});

describe('the guests\' own oracles', () => {
  const bank = (received: number, more: Partial<BankStatus> = {}): BankStatus => ({
    daemon: 'bank', address: 'a', moves: 1, received, errors: 0, error: '', reconnects: 0, connected: 1, peers: 1, held: false, initial: 10, balance: 10,
    links: [{ peer: 'b', up: true, sent: 1, sent_sum: 1, received, received_sum: 1 }], ...more,
  });
  it('the bank finds errors, a connection made again, and one that stands still', () => {
    const kinds = (later: BankStatus): number[] => { const found = new BankOracles(0); found.reading([bank(1)], [later], 'now'); return found.oracles.map(({ violations }) => violations); };
    expect(kinds(bank(2))).toEqual([0, 0, 0]);
    expect(kinds(bank(2, { errors: 1, error: 'a move was lost' }))).toEqual([1, 0, 0]);
    expect(kinds(bank(2, { reconnects: 1 }))).toEqual([0, 0, 1]);
    expect(kinds(bank(1))).toEqual([0, 0, 1]);
  });
  it('memory that is not verified any more is a violation', () => {
    const status = (verified: number, errors = 0) => ({ daemon: 'pattern' as const, pages: 1, written: 1, verified, rounds: 1, errors, error: '' });
    const [good, idle, wrong] = [new MemoryPattern(0), new MemoryPattern(0), new MemoryPattern(0)];
    good.reading('v', status(1), status(2000), 'now');
    idle.reading('v', status(1), status(1), 'now');
    wrong.reading('v', status(1), status(2000, 3), 'now');
    expect([good, idle, wrong].map(({ oracle: { holds } }) => holds)).toEqual([true, false, false]);
  });
  it('message vectors: errors, a connection made again, silence, and too few comparisons', () => {
    const vector = (received: number, more: Partial<VectorStatus> = {}): VectorStatus => ({
      daemon: 'vector', address: 'a', errors: 0, error: '', orphans: 0, reconnects: 0, connected: 1, peers: 1, checked: 100 * received,
      links: [{ peer: 'b', up: true, sent: 1, received, datagrams_sent: 1, datagrams_received: 1, datagrams_missed: 1 }], ...more,
    });
    const judge = (later: VectorStatus): Messages['oracle'] => { const found = new Messages(0); found.reading([vector(1)], [later], 'now'); return found.oracle; };
    expect(judge(vector(5))).toMatchObject({ holds: true, violations: 0 });
    expect(judge(vector(5, { errors: 2, orphans: 1, error: 'b: has received more than was sent (5, here 4)' }))).toMatchObject({ holds: false, violations: 2 });
    expect(judge(vector(5, { reconnects: 1 }))).toMatchObject({ holds: false, violations: 1 });
    expect(judge(vector(1))).toMatchObject({ holds: false, violations: 1 });
    expect(judge(vector(2))).toMatchObject({ holds: false, violations: 0 });
  });
  it('what the outside remembers and is not there', () => {
    const found = new Remembered(0);
    found.histories([{ checked: 30, broken: 0, complaints: [] }, { checked: 5, broken: 2, complaints: ['entry 4 is not there'] }], 'now');
    found.database({ checked: 30, broken: 0, complaints: [] }, 'now');
    expect([found.history, found.transactions]).toMatchObject([{ checks: 35, violations: 2, holds: false }, { checks: 30, violations: 0, holds: true }]);
  });
  it('blocks that are wrong, and a disk that stands still', () => {
    const blocks = (verified: number, errors = 0): BlocksStatus => ({ daemon: 'blocks', blocks: 1, prepared: 1, written: verified, verified, rounds: 1, errors, torn: errors, old: 0, error: '' });
    const judge = (later: BlocksStatus): boolean => { const found = new BlockPattern(0); found.reading(blocks(1), later, 'now'); return found.oracle.holds; };
    expect([judge(blocks(900)), judge(blocks(900, 1)), judge(blocks(1))]).toEqual([true, false, false]);
  });
  it('a woken host that is heard, that comes back as it was, or that nobody listened to', () => {
    const judge = (over: object): boolean => { const found = new WokenHost(1); found.woke({ host: 'a', before: 3, after: [], anotherLife: true, vms: [], ...over }); return found.holds; };
    expect(judge({})).toBe(true);
    for (const wrong of [{ before: 0 }, { after: [{ at_ms: 1, mac: 'm', bytes: 60 }] }, { anotherLife: false }, { vms: ['v'] }]) expect(judge(wrong)).toBe(false);
    expect(new WokenHost(1).holds).toBe(false);
  });
});
