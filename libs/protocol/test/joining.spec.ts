import fc from 'fast-check';
import { cutMembersOf, decideRecovery, decideStart, fold, hearColour, initialState, isVoid, newAgent, noProgress, noteStage, react, type AgentOrder, type AgentState } from '../src/index.js';
import { admitted, agentOf, cutOf, decision, hex, incarnationOf, report, specOf, Story } from './story.js';

const policies = { data_loss: 'halt', recovery_attempts: 5, seed_from_mib: 1_024, seed_mib_per_s: 64 } as const;
/** Of three VMs `b` on h1 is large. */
const spec = specOf({ policies, vms: specOf().vms.map((vm) => (vm.name === 'b' ? { ...vm, memory_mib: 4_096 } : vm)) });
const hosts = [admitted('h1', 0, { memory_mib: 20_000 }), admitted('h2', 1, { memory_mib: 20_000 }), admitted('h3', 2, { memory_mib: 20_000 })];
const created = [decision('cluster.created', { log: hex('log', 32), spec }), ...hosts];
const begun = (syncing: string[]) => decision('cluster.started', { generation: 1, incarnation: incarnationOf(1), epoch: 1, placement: { a: 'h1', b: 'h1', c: 'h2' }, disks: null, syncing });
const seeded = (vm: string, host: string, life = 1, generation = 1) => report('vm.seeded', { host, agent: agentOf(host, life), generation, vm, image: hex(`image-${vm}`), seed_ms: 1_000, seeded_bytes: 1, stored_bytes: 1, rounds: 2 });
const joined = (vm: string, generation = 1) => decision('vm.joined', { generation, vm, image: hex(`image-${vm}`) });
const vmsOf = (story: Story): string[] => cutMembersOf(story.state).flatMap(({ vms }) => vms).sort();

describe('a VM that is too large to be stored whole in its first cut (R20)', () => {
  it('is syncing from the start, and in no cut; the others are', () => {
    const start = decideStart(fold(created, initialState), incarnationOf(1), 0, 0);
    expect(start).toMatchObject({ kind: 'start', data: { syncing: ['b'] } });
    const story = new Story().given(...created, begun(['b'])).running();
    expect(story.run()).toEqual(['open 1']);
    expect(story.state.open[0]?.members).toMatchObject([{ host: 'h1', vms: ['a'] }, { host: 'h2', vms: ['c'] }]);
    expect(story.stores('h1', 1, null, { vms: ['a'] }).stores('h2', 1, null).run()).toEqual(['commit 1']);
    expect(story.state.tip).toEqual(cutOf(1, 1));
  });

  it('joins between two barriers, once its host said that its base is stored; what is open stays without it', () => {
    const story = new Story().given(...created, begun(['b'])).running();
    story.run();
    story.hears(seeded('b', 'h1'));
    expect(story.run()).toEqual(['join b']);
    expect(story.stores('h1', 1, null, { vms: ['a'] }).stores('h2', 1, null).at(150).run()).toEqual(['commit 1', 'open 2']);
    expect(story.state.open[0]?.members).toMatchObject([{ host: 'h1', vms: ['a', 'b'] }, { host: 'h2', vms: ['c'] }]);
  });

  it('does not join by the word of another host, another life or another generation', () => {
    const story = new Story().given(...created, begun(['b'])).running().hears(seeded('b', 'h2'), seeded('b', 'h1', 2), seeded('b', 'h1', 1, 7), seeded('a', 'h1'));
    expect(story.run()).toEqual(['open 1']);
    expect(isVoid(story.state, joined('a'))).toBe(true);
    expect(isVoid(story.state, joined('b', 2))).toBe(true);
  });

  it('that its host cut without, since a newer colour came before the decision (R5), is in the next epoch', () => {
    const story = new Story().given(...created, begun(['b']), joined('b')).running();
    expect(story.run()).toEqual(['open 1']);
    expect(story.stores('h1', 1, null, { vms: ['a'] }).run()).toEqual(['abort 1 (h1)']);
  });

  it('is alone: no epoch opens, output passes, and the status says why; with the first VM that joins it waits for commits', () => {
    const story = new Story().given(...created, begun(['a', 'b', 'c'])).running();
    expect(story.run()).toEqual([]);
    const mine = given([...created, begun(['a', 'b', 'c'])]);
    expect(mine.orders.slice(-2)).toEqual([{ kind: 'gate', open: true }, { kind: 'seed', vms: ['a', 'b'] }]);
    const after = react(mine.state, joined('c'));
    expect(after.orders).toEqual([{ kind: 'gate', open: false }]);
    expect(react(after.state, joined('a')).orders).toEqual([]);
    // A frame of a newer colour says so too, where the bus is late.
    expect(hearColour(mine.state, 2).orders).toEqual([{ kind: 'flip', epoch: 1 }, { kind: 'gate', open: false }]);
  });

  it('is begun anew by a recovery whose basis does not hold it, and seeded again; who is in the basis is not', () => {
    const raised = (vms?: string[]) => [
      decision('epoch.opened', { generation: 1, epoch: 1, members: [{ host: 'h1', agent: agentOf('h1'), vms: ['a'] }, { host: 'h2', agent: agentOf('h2'), vms: ['c'] }] }),
      decision('epoch.committed', { generation: 1, epoch: 1, cut: cutOf(1, 1), previous: null }),
      decision('generation.raising', { generation: 2, cause: { kind: 'host-lost', lost: [{ host: 'h1', agent: agentOf('h1') }], vms: ['a', 'b'], detail: '', cut: null } }),
      decision('generation.raised', { generation: 2, incarnation: incarnationOf(2), basis: cutOf(1, 1), ahead_ms: 0, ...(vms === undefined ? {} : { vms }) }),
    ];
    const log = [...created, begun(['b']), ...raised(['a', 'c'])];
    const state = fold(log, initialState);
    expect(state.syncing).toEqual(['b']);
    const plan = decideRecovery(state, noteStage(noProgress, state, 0), 0);
    if (plan.kind !== 'append' || plan.decision.type !== 'recovery.planned') throw new Error('a plan is due');
    const on = plan.decision.data.placement['b'] ?? '';
    const taker = given([...log, plan.decision, decision('recovery.resumed', { generation: 2 })], on);
    const load = taker.orders.find(({ kind }) => kind === 'load');
    expect(load).toMatchObject({ fresh: ['b'] });
    expect((load as { vms: string[] }).vms).not.toContain('b');
    expect(taker.orders.slice(-2)).toMatchObject([{ kind: 'resume' }, { kind: 'seed', vms: ['b'] }]);
    // A VM of the basis has its chain already, large or not.
    expect(fold([...created, begun(['b']), joined('b'), ...raised()], initialState).syncing).toEqual([]);
    expect(given([...created, begun([]), ...raised(), plan.decision, decision('recovery.resumed', { generation: 2 })], on).orders.map(({ kind }) => kind)).not.toContain('seed');
  });

  it('is not one whose disks come from a cut: a recovery would begin it with its images', () => {
    const disks = [{ name: 'root', source: '/d', format: 'raw' as const }];
    const withDisks = { ...spec, vms: spec.vms.map((vm) => ({ ...vm, disks })) };
    const stopped = { ...fold([decision('cluster.created', { log: hex('log', 32), spec: withDisks }), ...hosts], initialState), tip: cutOf(1, 9) };
    expect(decideStart(stopped, incarnationOf(2), 0, 0)).toMatchObject({ kind: 'start', data: { disks: cutOf(1, 9) } });
    expect(decideStart(stopped, incarnationOf(2), 0, 0)).not.toHaveProperty('data.syncing');
    expect(decideStart({ ...stopped, tip: null }, incarnationOf(2), 0, 0)).toHaveProperty('data.syncing', ['b']);
  });

  it('is seeded while protection is on, only then', () => {
    const start = given([...created, begun(['b'])]);
    const off = react(start.state, decision('protection.disabled', { by: 'me' }));
    expect(off.orders).toEqual([{ kind: 'gate', open: true }, { kind: 'seed', vms: [] }]);
    expect(react(off.state, decision('protection.enabled', { by: 'me' })).orders).toEqual([{ kind: 'gate', open: false }, { kind: 'seed', vms: ['b'] }]);
  });
});

describe('whatever happens, in any order (R20)', () => {
  const act = fc.oneof(
    fc.constantFrom('a', 'b', 'c').map((vm) => ({ kind: 'seeded' as const, vm })), fc.constant({ kind: 'step' as const }),
    fc.constantFrom('h1', 'h2').map((host) => ({ kind: 'stores' as const, host })), fc.constant({ kind: 'heard' as const }),
  );
  it('a VM is in a cut only after it joined, agent and coordinator agree on who is in one, and joining is not undone by epochs', () => {
    fc.assert(fc.property(fc.array(act, { maxLength: 60 }), fc.subarray(['a', 'b', 'c']), (acts, syncing) => {
      const story = new Story().given(...created, begun(syncing)).running();
      let agent = given([...created, begun(syncing)]).state;
      let known = story.log.length;
      let before = vmsOf(story);
      for (const one of acts) {
        if (one.kind === 'seeded') story.hears(seeded(one.vm, one.vm === 'c' ? 'h2' : 'h1'));
        else if (one.kind === 'stores') for (const open of story.state.open) story.stores(one.host, open.epoch, null, { vms: [...open.members.find(({ host }) => host === one.host)?.vms ?? []] });
        else if (one.kind === 'heard') agent = hearColour(agent, agent.closed + 2).state;
        else {
          story.at(story.now_ms + 150).run(1);
        }
        for (; known < story.log.length; known += 1) {
          const { state, orders } = react(agent, story.log[known] as never);
          agent = state;
          for (const order of orders) if (order.kind === 'cut') expect(order.vms).toEqual(cutMembersOf(story.state).find(({ host }) => host === 'h1')?.vms ?? []);
        }
        const now = vmsOf(story);
        expect(now).toEqual(expect.arrayContaining(before));
        for (const vm of now) expect(!syncing.includes(vm) || story.log.some((each) => each.type === 'vm.joined' && each.data.vm === vm)).toBe(true);
        for (const { members } of story.state.open) for (const { vms } of members) expect(now).toEqual(expect.arrayContaining([...vms]));
        expect([...agent.syncing].sort()).toEqual([...story.state.syncing].sort());
        before = now;
      }
    }), { numRuns: 200 });
  });
});

function given(log: readonly Parameters<typeof react>[1][], host = 'h1'): { state: AgentState; orders: AgentOrder[] } {
  let state = newAgent({ host, agent: agentOf(host) });
  const orders: AgentOrder[] = [];
  for (const each of log) {
    const reaction = react(state, each);
    state = reaction.state;
    orders.push(...reaction.orders);
  }
  return { state, orders };
}
