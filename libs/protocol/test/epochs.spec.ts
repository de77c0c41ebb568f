import { limits } from '../src/limits.js';
import { specOf, started, Story, agentOf, decision, report, hex, cutOf, incarnationOf } from './story.js';
import { alarmsOf, noteTip } from '../src/index.js';

describe('epochs are opened', () => {
  it('when every VM runs, not before', () => {
    const story = new Story().given(...started());
    expect(story.run()).toEqual([]);
    expect(story.running().run()).toEqual(['open 1']);
  });

  it('an interval after the last barrier, at most W at a time (R24)', () => {
    const story = new Story().given(...started()).running();
    expect(story.run()).toEqual(['open 1']);
    expect(story.at(99).run()).toEqual([]);
    expect(story.step()).toEqual({ kind: 'wait', until_ms: 100 });
    expect(story.at(100).run()).toEqual(['open 2']);
    expect(story.at(1_000).run()).toEqual([]);
    expect(story.stores('h1', 1).stores('h2', 1).run()).toEqual(['commit 1', 'open 3']);
  });

  it('once the one before is stored, when storing takes longer than an interval (R24)', () => {
    const story = new Story().given(...started()).running();
    const waiting: number[] = [];
    let [opened, free_ms] = [0, 0];
    // Hosts as they are: each stores for 300 ms, one epoch after the other.
    for (let now_ms = 0; now_ms <= 20_000; now_ms += 10) {
      opened += story.at(now_ms).run().filter((one) => one.startsWith('open')).length;
      const next = story.state.open.find(({ epoch }) => !story.ledger.packs.some((pack) => pack.epoch === epoch))?.epoch;
      if (next === undefined) free_ms = now_ms + 300;
      else if (now_ms >= free_ms) {
        waiting.push(now_ms - (story.ledger.opened_ms[next] ?? 0));
        story.stores('h1', next).stores('h2', next);
        free_ms = now_ms + 300;
      }
    }
    expect(opened).toBeGreaterThan(60);
    expect(Math.max(...waiting.slice(20))).toBeLessThanOrEqual(320);
  });

  it('as many as the window allows while the store stands still (R24)', () => {
    const story = new Story().given(...started()).running();
    for (let now_ms = 0; now_ms <= 2_000; now_ms += 10) {
      story.at(now_ms).run();
      const [epoch] = story.state.open.map((open) => open.epoch);
      if (epoch !== undefined && now_ms - (story.ledger.opened_ms[epoch] ?? 0) >= 50) story.stores('h1', epoch).stores('h2', epoch);
    }
    const { open, epochs } = story.state;
    for (let now_ms = 2_010; now_ms <= 4_000; now_ms += 10) story.at(now_ms).run();
    expect({ open: open.length <= 2, now: story.state.open.length, committed: story.state.epochs.committed }).toEqual({ open: true, now: 2, committed: epochs.committed });
  });

  it('by members that hold VMs, with the life of each agent', () => {
    const story = new Story().given(...started()).running();
    expect(story.step()).toEqual({
      kind: 'open',
      data: { generation: 1, epoch: 1, members: [{ host: 'h1', agent: agentOf('h1'), vms: ['a', 'b'] }, { host: 'h2', agent: agentOf('h2'), vms: ['c'] }] },
    });
  });

  it('never while protection is off, raising, recovering or halted', () => {
    const off = new Story().given(...started()).running().given(decision('protection.disabled', { by: 'me' }));
    expect(off.run()).toEqual([]);
    expect(off.given(decision('protection.enabled', { by: 'me' })).run()).toEqual(['open 1']);
    const raising = new Story().given(...started()).running()
      .given(decision('generation.raising', { generation: 2, cause: { kind: 'host-lost', lost: [], vms: [], detail: '', cut: null } }));
    expect(raising.run()).toEqual([]);
    expect(raising.given(decision('cluster.halted', { generation: 2, reason: 'no-cut', detail: '' })).run()).toEqual([]);
  });
});

describe('epochs are committed', () => {
  it('only when every member is stored, strictly in order (R12)', () => {
    const story = new Story().given(...started()).running();
    story.run();
    story.at(100).run();
    expect(story.stores('h1', 2, 1).stores('h2', 2, 1).run()).toEqual([]);
    expect(story.stores('h2', 1).run()).toEqual([]);
    expect(story.stores('h1', 1).run()).toEqual(['commit 1', 'commit 2']);
  });

  it('with the same content from every coordinator, whatever the order of reports (R12)', () => {
    const content = (order: string[]): unknown => {
      const story = new Story().given(...started()).running();
      story.run();
      for (const host of order) story.stores(host, 1);
      return story.step();
    };
    expect(content(['h1', 'h2'])).toEqual(content(['h2', 'h1']));
    expect(content(['h1', 'h2'])).toMatchObject({ kind: 'commit', content: { generation: 1, epoch: 1, previous: null, incarnation: incarnationOf(1) } });
  });

  it('with the disks of each VM, as its segment has them', () => {
    const story = new Story().given(...started()).running();
    story.run();
    const disks = [{ name: 'root', bytes: 8192 }, { name: 'data', bytes: 4096 }];
    story.stores('h1', 1, null, { disks }).stores('h2', 1);
    expect(story.step()).toMatchObject({ kind: 'commit', content: { vms: { a: { disks }, b: { disks }, c: { disks: [] } } } });
  });

  it('never over a hole in a chain (R2)', () => {
    const story = new Story().given(...started()).running();
    story.run();
    story.stores('h1', 1).stores('h2', 1).run();
    story.at(100).run();
    story.at(200).run();
    expect(story.state.open.map(({ epoch }) => epoch)).toEqual([2, 3]);
    story.stores('h1', 2).hears(report('capture.failed', { host: 'h2', agent: agentOf('h2'), generation: 1, epoch: 2, reason: 'stop took too long' }));
    expect(story.run()).toEqual(['abort 2 (h2)']);
    // h2 names a parent of epoch 2 that it never stored.
    expect(story.stores('h1', 3, 2).stores('h2', 3, 2).run()).toEqual([]);
    expect(story.at(5_200).run()).toEqual(['abort 3 (h2)', 'open 4']);
  });

  it('with the packs of aborted epochs, also when they come late (R2, R2a)', () => {
    const story = new Story().given(...started()).running();
    story.run();
    story.stores('h1', 1).stores('h2', 1).run();
    story.at(100).run();
    expect(story.stores('h1', 2).at(5_100).run()).toEqual(['abort 2 (h2)', 'open 3']);
    // The next of h2 names its late segment of epoch 2 as the parent.
    expect(story.stores('h1', 3, 2).stores('h2', 3, 2).at(5_150).run()).toEqual([]);
    story.stores('h2', 2);
    const step = story.step();
    expect(step.kind).toBe('commit');
    if (step.kind === 'commit') expect(step.content.packs.map(({ host, epoch }) => `${epoch} ${host}`)).toEqual(['2 h1', '2 h2', '3 h1', '3 h2']);
  });

  it('never with packs of another life of an agent, nor of another generation (R16)', () => {
    const story = new Story().given(...started()).running();
    story.run();
    story.stores('h1', 1).stores('h2', 1, null, { agent: agentOf('h2', 2) });
    expect(story.run()).toEqual([]);
    story.hears(report('segments.stored', {
      host: 'h2', agent: agentOf('h2'), generation: 7, epoch: 1, pack: { key: 'packs/7', hash: hex('7'), bytes: 1 },
      segments: [], channels: { frames: 0, down: [] }, pauses: [], verified: { checks: 0, differing: 0 }, nics: [],
    }));
    expect(story.run()).toEqual([]);
    expect(story.stores('h2', 1).run()).toEqual(['commit 1']);
  });

  it('never of the old generation once a raise is asked for (R16)', () => {
    const story = new Story().given(...started()).running();
    story.run();
    story.stores('h1', 1).stores('h2', 1);
    story.given(decision('generation.raising', { generation: 2, cause: { kind: 'host-lost', lost: [], vms: [], detail: '', cut: null } }));
    expect(story.run()).toEqual([]);
    // Even if somebody appended it: void.
    story.given(decision('epoch.committed', { generation: 1, epoch: 1, cut: cutOf(1, 1), previous: null }));
    expect(story.state.tip).toBeNull();
  });

  it('after the tip was learnt: a coordinator that starts reads the manifest first', () => {
    const story = new Story().given(...started(),
      decision('epoch.opened', { generation: 1, epoch: 1, members: [{ host: 'h1', agent: agentOf('h1'), vms: ['a', 'b'] }, { host: 'h2', agent: agentOf('h2'), vms: ['c'] }] }),
      decision('epoch.committed', { generation: 1, epoch: 1, cut: cutOf(1, 1), previous: null }));
    expect(story.step()).toEqual({ kind: 'learn', cut: cutOf(1, 1) });
    story.ledger = noteTip(story.ledger, cutOf(1, 1).hash, { a: hex('a-1'), b: hex('b-1'), c: hex('c-1') });
    expect(story.at(100).run()).toEqual(['open 2']);
    expect(story.stores('h1', 2).stores('h2', 2).run()).toEqual(['commit 2']);
  });
});

describe('epochs are aborted', () => {
  it('at the deadline, naming who is missing', () => {
    const story = new Story().given(...started()).running();
    story.run();
    story.stores('h1', 1).stores('h2', 1).run();
    expect(story.at(100).run()).toEqual(['open 2']);
    expect(story.stores('h1', 2).at(5_099).run()).toEqual(['open 3']);
    expect(story.at(5_100).run()).toEqual(['abort 2 (h2)']);
    expect(story.at(5_199).run()).toEqual(['open 4']);
  });

  it('later before the first cut, when every VM is stored in full (R20)', () => {
    const story = new Story().given(...started()).running();
    story.run();
    expect(story.stores('h1', 1).at(5_000 * limits.first_cut_deadlines - 1).run()).toEqual(['open 2']);
    expect(story.at(5_000 * limits.first_cut_deadlines).run()).toEqual(['abort 1 (h2)']);
  });

  it('not for the time that the one before it was stored: a host stores one after the other', () => {
    const story = new Story().given(...started()).running();
    story.run();
    story.at(100).run();
    expect(story.at(50_000).stores('h1', 1).stores('h2', 1).stores('h1', 2).run()).toContain('commit 1');
    expect(alarmsOf(story.state, story.ledger, 50_001).has('store-unavailable')).toBe(false);
    expect(story.at(54_999).run().filter((step) => step.startsWith('abort'))).toEqual([]);
    expect(story.at(55_000).run()).toContain('abort 2 (h2)');
  });

  it('at once when a host could not capture', () => {
    const story = new Story().given(...started()).running();
    story.run();
    story.hears(report('capture.failed', { host: 'h1', agent: agentOf('h1'), generation: 1, epoch: 1, reason: 'a did not stop' }));
    expect(story.run()).toEqual(['abort 1 (h1)']);
  });

  it('not when nobody could store: the store is away, and it commits in order on return (R24)', () => {
    const story = new Story().given(...started()).running();
    story.run();
    story.at(100).run();
    expect(story.at(60_000).run()).toEqual([]);
    expect(story.stores('h1', 1).stores('h2', 1).stores('h1', 2).stores('h2', 2).run().slice(0, 2)).toEqual(['commit 1', 'commit 2']);
  });
});

describe('a straggler (R22)', () => {
  const miss = (story: Story): string[] => {
    const done: string[] = [];
    for (let i = 0; i < 200 && !done.some((one) => one === 'evict' || one === 'suspend'); i++) {
      story.at(story.now_ms + 500);
      done.push(...story.run());
      for (const { epoch } of story.state.open) story.stores('h1', epoch, null);
    }
    return done;
  };

  it('is evicted by a recovery when others have room', () => {
    const story = new Story().given(...started()).running();
    story.run();
    story.stores('h1', 1).stores('h2', 1).run();
    const done = miss(story);
    expect(done.filter((one) => one.startsWith('abort'))).toHaveLength(limits.straggler_aborts);
    expect(story.step()).toMatchObject({ kind: 'evict', cause: { kind: 'straggler', lost: [{ host: 'h2', agent: agentOf('h2') }] } });
  });

  it('ends protection, said aloud, when nobody has', () => {
    const story = new Story().given(...started(specOf({ hosts: ['h1', 'h2'] })).filter((one) => one.type !== 'host.admitted' || one.data.host !== 'h3')).running();
    story.given(decision('host.admitted', { ...story.state.hosts['h1']!, memory_mib: 800 }));
    story.run();
    story.stores('h1', 1).stores('h2', 1).run();
    expect(miss(story)).toContain('suspend');
    expect(story.state.protected).toBe(false);
  });
});
