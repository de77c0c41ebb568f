import { emptyLedger, evolve, isVoid, limits, noteDecision } from '../src/index.js';
import { agentOf, decision, report, specOf, started, Story } from './story.js';

const twoPhase = specOf({ barrier: 'two-phase' });
/** A two-phase cluster whose first cut is committed, its second barrier open. */
const second = (): Story => {
  const story = new Story().given(...started(twoPhase)).running();
  story.run();
  story.reach(1, 'h1', 'h2').run();
  story.stores('h1', 1).stores('h2', 1).run();
  expect(story.at(100).run()).toEqual(['open 2']);
  return story;
};

describe('a two-phase barrier (R4a)', () => {
  it('is what the cluster file asks for, epoch by epoch: a change takes effect at the next one', () => {
    const story = new Story().given(...started(twoPhase)).running();
    expect(story.step()).toMatchObject({ kind: 'open', data: { epoch: 1, barrier: 'two-phase' } });
    story.run();
    story.given(decision('cluster.changed', { spec: specOf({ barrier: 'coloured' }) }));
    expect(story.reach(1, 'h1', 'h2').run()).toEqual(['seal 1']);
    const next = story.at(100).step();
    expect(next).toMatchObject({ kind: 'open', data: { epoch: 2 } });
    expect(next).not.toHaveProperty('data.barrier');
  });

  it('is sealed when every member stands at it, and commits when all is stored', () => {
    const story = second();
    expect(story.reach(2, 'h1').run()).toEqual([]);
    expect(story.reach(2, 'h1').run()).toEqual([]);
    expect(story.reach(2, 'h2').run()).toEqual(['seal 2']);
    expect(story.run()).toEqual([]);
    expect(story.stores('h1', 2).stores('h2', 2).run()).toEqual(['commit 2']);
  });

  it('is sealed before the tip is learnt: guests stand still for it', () => {
    const story = second().reach(2, 'h1', 'h2');
    story.ledger = { ...story.ledger, tipSegments: null };
    expect(story.step()).toEqual({ kind: 'seal', data: { generation: 1, epoch: 2 } });
  });

  it('is not sealed by another life of an agent, another generation or another epoch', () => {
    const story = second().reach(2, 'h1');
    const reached = (changes: object) => report('barrier.reached', { host: 'h2', agent: agentOf('h2'), generation: 1, epoch: 2, ...changes });
    expect(story.hears(reached({ agent: agentOf('h2', 2) }), reached({ generation: 2 }), reached({ epoch: 1 }), reached({ epoch: 3 })).run()).toEqual([]);
  });

  it('is alone: the next does not open before it is sealed, whatever the window', () => {
    const story = second().reach(2, 'h1');
    expect(story.at(3_000).run()).toEqual([]);
    expect(story.reach(2, 'h2').run()).toEqual(['seal 2', 'open 3']);
  });

  it('aborts when one gave up its wait, and strikes the one that it waited for (R22)', () => {
    const story = second().reach(2, 'h1').at(100 + limits.seal_wait_ms).fails('h1', 2, true);
    expect(story.run()).toEqual(['abort 2 (h2)', 'open 3']);
    expect(story.state.strikes).toEqual({ h2: 1 });
  });

  it('is not sealed any more once one gave up, though the last one comes', () => {
    const story = second().reach(2, 'h1').fails('h1', 2, true).reach(2, 'h2');
    expect(story.run()).toEqual(['abort 2 ()']);
  });

  it('strikes who could not stop its VMs, not who waited for it', () => {
    const story = second().reach(2, 'h1').fails('h2', 2).fails('h1', 2, true);
    expect(story.run()).toEqual(['abort 2 (h2)']);
    expect(story.log.at(-1)).toMatchObject({ data: { reason: expect.stringContaining('h2 could not capture: a VM did not stop') as string } });
  });

  it('strikes nobody when a seal came too late: that is the bus', () => {
    const story = second().reach(2, 'h1', 'h2');
    expect(story.run()).toEqual(['seal 2']);
    expect(story.fails('h1', 2, true).stores('h2', 2).run()).toEqual(['abort 2 ()']);
    expect(story.state.strikes).toEqual({});
  });

  it('aborts at the deadline when a member does not reach it; before the first cut too', () => {
    expect(second().reach(2, 'h1').at(5_099).run()).toEqual([]);
    expect(second().reach(2, 'h1').at(5_100).run()).toEqual(['abort 2 (h2)', 'open 3']);
    const first = new Story().given(...started(twoPhase)).running();
    expect(first.run()).toEqual(['open 1']);
    expect(first.reach(1, 'h2').at(5_000).run()).toEqual(['abort 1 (h1)', 'open 2']);
  });

  it('aborts and strikes nobody when none reached it: the orders did not get through', () => {
    expect(second().at(5_100).run()).toEqual(['abort 2 ()', 'open 3']);
  });

  it('evicts a straggler that never reaches it (R22)', () => {
    const story = second();
    const done: string[] = [];
    while (!done.includes('evict') && story.now_ms < 200_000) {
      for (const { epoch } of story.state.open) story.reach(epoch, 'h1').fails('h1', epoch, true);
      done.push(...story.at(story.now_ms + 1_000).run());
    }
    expect(done.filter((one) => one.startsWith('abort'))).toHaveLength(limits.straggler_aborts);
    expect(story.step()).toMatchObject({ kind: 'evict', cause: { kind: 'straggler', lost: [{ host: 'h2' }] } });
  });

  it('does not open beyond the window while the store is away; nothing aborts, and it commits in order on return (R24)', () => {
    const story = second().reach(2, 'h1', 'h2');
    expect(story.at(200).run()).toEqual(['seal 2', 'open 3']);
    expect(story.reach(3, 'h1', 'h2').run()).toEqual(['seal 3']);
    expect(story.at(60_000).run()).toEqual([]);
    expect(story.stores('h1', 2).stores('h2', 2).stores('h1', 3).stores('h2', 3).run().slice(0, 2)).toEqual(['commit 2', 'commit 3']);
  });

  it('ends with a raise, and what seals it then is void', () => {
    const story = second().reach(2, 'h1', 'h2');
    story.given(decision('generation.raising', { generation: 2, cause: { kind: 'host-lost', lost: [], vms: [], detail: '', cut: null } }));
    expect(story.run()).toEqual([]);
    expect(isVoid(story.state, decision('epoch.sealed', { generation: 1, epoch: 2 }))).toBe(true);
  });
});

describe('a seal', () => {
  it('is void for a coloured epoch, twice, or of another generation', () => {
    const coloured = new Story().given(...started()).running();
    coloured.run();
    expect(isVoid(coloured.state, decision('epoch.sealed', { generation: 1, epoch: 1 }))).toBe(true);
    const story = second();
    expect(isVoid(story.state, decision('epoch.sealed', { generation: 2, epoch: 2 }))).toBe(true);
    expect(isVoid(story.state, decision('epoch.sealed', { generation: 1, epoch: 1 }))).toBe(true);
    const once = evolve(story.state, decision('epoch.sealed', { generation: 1, epoch: 2 }));
    expect(once.open).toMatchObject([{ epoch: 2, sealed: true }]);
    expect(isVoid(once, decision('epoch.sealed', { generation: 1, epoch: 2 }))).toBe(true);
  });

  it('may be forgotten by who starts anew: the reports say it again', () => {
    const story = second().reach(2, 'h1', 'h2');
    const [state, reports] = [story.state, story.ledger.reached];
    const fresh = new Story();
    fresh.state = state;
    fresh.ledger = noteDecision(emptyLedger, state, story.log.at(-1)!, 100);
    expect(fresh.at(100).step()).not.toMatchObject({ kind: 'seal' });
    expect(fresh.hears(...reports.map((data) => report('barrier.reached', data))).step()).toMatchObject({ kind: 'seal' });
  });
});
