import { alarmsOf, decideMembership, decideRecovery, decideStart, emptyLedger, evolve, fold, initialState, limits, noProgress, noteRecovery, noteStage, placeRecovery, compareSpecs,
  type ClusterState, type RecoveryProgress } from '../src/index.js';
import type { Decision } from '@virtcft/events';
import { admitted, agentOf, cutOf, decision, identity, incarnationOf, registrationOf, report, specOf, started } from './story.js';

const stateOf = (...decisions: Decision[]): ClusterState => fold(decisions, initialState);
const committed: Decision[] = [
  ...started(),
  decision('epoch.opened', { generation: 1, epoch: 1, members: [{ host: 'h1', agent: agentOf('h1'), vms: ['a', 'b'] }, { host: 'h2', agent: agentOf('h2'), vms: ['c'] }] }),
  decision('epoch.committed', { generation: 1, epoch: 1, cut: cutOf(1, 1), previous: null }),
];
const lost = (host: string, generation = 2): Decision[] => [
  decision('generation.raising', { generation, cause: { kind: 'host-lost', lost: [{ host, agent: agentOf(host) }], vms: [], detail: 'silent', cut: null } }),
  decision('generation.raised', { generation, incarnation: incarnationOf(generation), basis: cutOf(1, 1), ahead_ms: 0 }),
];
const from = (host: string, generation = 2) => ({ host, agent: agentOf(host), generation });

describe('a recovery (R17)', () => {
  let state: ClusterState;
  let progress: RecoveryProgress;
  const take = (now_ms: number): string => {
    const step = decideRecovery(state, progress, now_ms);
    if (step.kind !== 'append') return step.kind;
    state = evolve(state, step.decision);
    progress = noteStage(progress, state, now_ms);
    return step.decision.type;
  };
  beforeEach(() => {
    state = stateOf(...committed, ...lost('h2'));
    progress = noteStage(noProgress, state, 0);
  });

  it('is planned at once, loaded by all, resumed, and completed when all run', () => {
    expect(take(0)).toBe('recovery.planned');
    expect(state.placement).toEqual({ a: 'h1', b: 'h1', c: 'h3' });
    expect(state.epoch).toBe(2);
    expect(take(1)).toBe('wait');
    progress = noteRecovery(progress, report('recovery.loaded', { ...from('h1'), vms: ['a', 'b'] }));
    expect(take(2)).toBe('wait');
    progress = noteRecovery(progress, report('recovery.loaded', { ...from('h3'), vms: ['c'] }));
    expect(take(3)).toBe('recovery.resumed');
    expect(take(4)).toBe('wait');
    progress = noteRecovery(progress, report('recovery.running', { ...from('h1'), vms: ['a', 'b'] }));
    progress = noteRecovery(progress, report('recovery.running', { ...from('h3'), vms: ['c'] }));
    expect(take(5)).toBe('recovery.completed');
    expect(state).toMatchObject({ stage: 'running', recoveries: 1, generation: 2 });
  });

  it('does not count what was reported in another generation or by another life', () => {
    take(0);
    for (const host of ['h1', 'h3']) progress = noteRecovery(progress, report('recovery.loaded', { ...from(host, 1), vms: [] }));
    progress = noteRecovery(progress, report('recovery.loaded', { ...from('h1'), agent: agentOf('h1', 9), vms: [] }));
    progress = noteRecovery(progress, report('recovery.loaded', { ...from('h3'), vms: [] }));
    expect(take(1)).toBe('wait');
  });

  it('does not wait for a new life of the lost host that was admitted meanwhile', () => {
    take(0);
    state = evolve(state, admitted('h2', 1, { agent: agentOf('h2', 2) }));
    for (const host of ['h1', 'h3']) progress = noteRecovery(progress, report('recovery.loaded', { ...from(host), vms: [] }));
    expect(take(1)).toBe('recovery.resumed');
  });

  it('fails at the host that keeps a stage waiting', () => {
    take(0);
    progress = noteRecovery(progress, report('recovery.loaded', { ...from('h1'), vms: ['a', 'b'] }));
    expect(decideRecovery(state, progress, limits.load_ms - 1).kind).toBe('wait');
    expect(decideRecovery(state, progress, limits.load_ms)).toMatchObject({ kind: 'overdue', host: 'h3', agent: agentOf('h3'), stage: 'load' });
  });

  it('halts without room, and goes on by itself when a host comes', () => {
    state = stateOf(...committed, decision('host.lost', { host: 'h3', agent: agentOf('h3'), reason: 'off' }), admitted('h1', 0, { memory_mib: 800 }), ...lost('h2'));
    progress = noteStage(noProgress, state, 0);
    expect(take(0)).toBe('cluster.halted');
    expect(state.halted?.reason).toBe('no-room');
    expect(take(1)).toBe('wait');
    state = evolve(state, admitted('h2', 1, { agent: agentOf('h2', 2) }));
    expect(take(2)).toBe('recovery.planned');
    expect(state.placement['c']).toBe('h2');
  });
});

describe('placement', () => {
  it('spreads a lost host over the freest, never beyond their room (R20)', () => {
    const vms = ['a', 'b', 'c', 'd'].map((name, i) => ({ ...specOf().vms[0]!, name, mac: `52:54:00:00:01:0${i}`, host: 'h1' }));
    const spec = specOf({ vms });
    const state = stateOf(decision('cluster.created', { log: incarnationOf(0), spec }), admitted('h1', 0), admitted('h2', 1, { memory_mib: 900 }), admitted('h3', 2, { memory_mib: 800 }),
      decision('cluster.started', { generation: 1, incarnation: incarnationOf(1), epoch: 1, placement: { a: 'h1', b: 'h1', c: 'h1', d: 'h1' }, disks: null }),
      decision('host.lost', { host: 'h1', agent: agentOf('h1'), reason: '' }));
    const { placement, moves, stuck } = placeRecovery(state);
    expect(stuck).toEqual([]);
    expect(Object.values(placement).sort()).toEqual(['h2', 'h2', 'h3', 'h3']);
    expect(moves).toHaveLength(4);
  });

  it('takes only hosts of equal identity (R20)', () => {
    const other = { ...identity, version: '8.0.0' };
    const state = stateOf(...committed.slice(0, 3), admitted('h3', 2, { identity: other }), ...committed.slice(4), decision('host.lost', { host: 'h2', agent: agentOf('h2'), reason: '' }));
    expect(placeRecovery(state).placement['c']).toBe('h1');
    const alone = evolve(state, admitted('h1', 0, { memory_mib: 800 }));
    expect(placeRecovery(alone).stuck).toEqual(['c']);
  });

  it('first: as the file says, else the first host with room; it waits for what is missing', () => {
    const spec = specOf({ vms: specOf().vms.map(({ host: _, ...vm }, i) => (i === 2 ? { ...vm, host: 'h2' } : vm)) });
    const created = decision('cluster.created', { log: incarnationOf(0), spec });
    expect(decideStart(stateOf(created, admitted('h1', 0)), incarnationOf(1), 0, 99_999)).toMatchObject({ kind: 'wait', waitsFor: 'host h2, where VM c is placed' });
    const two = stateOf(created, admitted('h1', 0), admitted('h2', 1));
    expect(decideStart(two, incarnationOf(1), 0, 0)).toMatchObject({ kind: 'wait', waitsFor: 'hosts h3' });
    expect(decideStart(two, incarnationOf(1), 0, limits.start_grace_ms)).toEqual({
      kind: 'start', data: { generation: 1, incarnation: incarnationOf(1), epoch: 1, placement: { a: 'h1', b: 'h1', c: 'h2' }, disks: null },
    });
  });

  it('again, after a stop: with the disks of the last cut, also when nothing was committed since the start before', () => {
    const stop = [decision('cluster.stopped', { by: 'test' }), decision('cluster.changed', { spec: specOf() })];
    const stopped = stateOf(...committed, ...stop);
    const again = decideStart(stopped, incarnationOf(2), 0, 99_999);
    expect(again).toMatchObject({ kind: 'start', data: { generation: 2, disks: stopped.tip } });
    expect(stopped.tip).not.toBeNull();
    if (again.kind !== 'start') return;
    const twice = fold([decision('cluster.started', again.data), ...stop], stopped);
    expect(twice.tip).toBeNull();
    expect(decideStart(twice, incarnationOf(3), 0, 99_999)).toMatchObject({ kind: 'start', data: { generation: 3, disks: stopped.tip } });
  });
});

describe('membership', () => {
  const offer = (host: string, life = 1, alive = true) => ({ registration: registrationOf(host, { agent: agentOf(host, life) }), alive });

  it('admits hosts of the file that are alive, each with its own number', () => {
    const created = stateOf(decision('cluster.created', { log: incarnationOf(0), spec: specOf() }));
    expect(decideMembership(created, [offer('h1', 1, false), offer('stranger')])).toBeNull();
    const one = evolve(created, decideMembership(created, [offer('h2')])!);
    const two = evolve(one, decideMembership(one, [offer('h2'), offer('h1')])!);
    expect([two.hosts['h2']?.number, two.hosts['h1']?.number]).toEqual([0, 1]);
    expect(decideMembership(two, [offer('h2'), offer('h1')])).toBeNull();
  });

  it('recovers when the agent of a host with VMs started again, then takes the new life in (R3, R20)', () => {
    let state = stateOf(...committed);
    const raising = decideMembership(state, [offer('h2', 2)]);
    expect(raising).toMatchObject({ type: 'generation.raising', data: { generation: 2, cause: { kind: 'host-lost', lost: [{ host: 'h2', agent: agentOf('h2') }] } } });
    state = evolve(state, raising!);
    expect(decideMembership(state, [offer('h2', 2)])).toMatchObject({ type: 'host.admitted', data: { host: 'h2', number: 1, agent: agentOf('h2', 2) } });
    expect(decideMembership(state, [offer('h2', 1)])).toBeNull();
  });

  it('lets a host without VMs leave and come', () => {
    const state = stateOf(...committed);
    const gone = decideMembership(state, [offer('h3', 2)]);
    expect(gone).toMatchObject({ type: 'host.lost', data: { host: 'h3', agent: agentOf('h3') } });
    expect(decideMembership(evolve(state, gone!), [offer('h3', 2)])).toMatchObject({ type: 'host.admitted' });
  });
});

describe('alarms (I6)', () => {
  it('tell of a missing spare, and stop when one comes', () => {
    const without = stateOf(...committed, decision('host.lost', { host: 'h3', agent: agentOf('h3'), reason: '' }), admitted('h2', 1, { memory_mib: 800 }));
    expect([...alarmsOf(without, emptyLedger, 0).keys()]).toEqual(['no-spare']);
    expect([...alarmsOf(evolve(without, admitted('h3', 2)), emptyLedger, 0).keys()]).toEqual([]);
  });

  it('tell of suspended protection, a halt and a store that is away', () => {
    expect([...alarmsOf(stateOf(...committed, decision('protection.disabled', { by: 'me' })), emptyLedger, 0).keys()]).toEqual(['unprotected']);
    expect([...alarmsOf(stateOf(...committed, decision('cluster.halted', { generation: 1, reason: 'no-room', detail: 'x' })), emptyLedger, 0).keys()]).toEqual(['halted']);
    const open = stateOf(...committed, ...[2, 3].map((epoch) => decision('epoch.opened', { generation: 1, epoch, members: [] })));
    const ledger = { ...emptyLedger, opened_ms: { 2: 0, 3: 100 } };
    expect([...alarmsOf(open, ledger, 4_999).keys()]).toEqual([]);
    expect([...alarmsOf(open, ledger, 5_000).keys()]).toEqual(['store-unavailable']);
    expect(alarmsOf(open, ledger, 5_000, 'the user may not do that').get('store-unavailable')).toBe('no host could store epoch 2: the user may not do that');
  });
});

describe('a changed cluster file', () => {
  it('may change the rhythm and policies, and add hosts', () => {
    const next = specOf({ interval_ms: 50, window: 4, hosts: ['h1', 'h2', 'h3', 'h4'] });
    expect(compareSpecs(specOf(), next)).toEqual({ changed: ['interval_ms', 'window', 'hosts'], refused: [] });
    expect(compareSpecs(specOf(), specOf())).toEqual({ changed: [], refused: [] });
  });

  it('may not change what the fabric is wired with, and says what to do', () => {
    const { refused } = compareSpecs(specOf(), specOf({ mtu: 9_000, held_output_bytes: 1_000_000 }));
    expect(refused).toEqual([
      { path: 'held_output_bytes', next: 'the bound is set when a generation begins: stop the cluster, then apply the file' },
      { path: 'mtu', next: 'guests and fabric agree on it when they start: stop the cluster, then apply the file' },
    ]);
  });

  it('may not change VMs nor take hosts out, and each is refused by its name', () => {
    const vms = specOf().vms.map((vm) => (vm.name === 'a' ? { ...vm, memory_mib: 256 } : vm)).filter((vm) => vm.name !== 'b');
    expect(compareSpecs(specOf(), specOf({ vms, hosts: ['h1', 'h2'] })).refused.map(({ path }) => path)).toEqual(['hosts', 'vms.a', 'vms.b']);
    expect(compareSpecs(specOf(), specOf({ clock: 'follow' })).refused.map(({ path }) => path)).toEqual(['clock']);
  });
});
