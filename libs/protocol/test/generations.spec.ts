import { chooseBasis, clockAhead_ms, decideRaise, evolve, fold, initialState, limits, reactTo, type ClusterState, type StoreView } from '../src/index.js';
import { admitted, agentOf, cutOf, decision, hex, incarnationOf, report, specOf, started, type Story } from './story.js';

const none: StoreView = { generations: [], cuts: [] };
const suspected = (host: string, generation: number, life = 1) => report('host.suspected', { host, agent: agentOf(host, life), generation, silent_ms: 420, witnesses: ['h1'] });
const stateOf = (...decisions: Parameters<Story['given']>): ClusterState => fold(decisions, initialState);
const opened = (epoch: number) => decision('epoch.opened', { generation: 1, epoch, members: [{ host: 'h1', agent: agentOf('h1'), vms: ['a', 'b'] }, { host: 'h2', agent: agentOf('h2'), vms: ['c'] }] });
const committed = (epoch: number, previous: number | null, generation = 1) => decision('epoch.committed', { generation, epoch, cut: cutOf(generation, epoch), previous: previous === null ? null : cutOf(generation, previous).hash });
const raising = (generation: number, changes: object = {}) => decision('generation.raising', {
  generation, cause: { kind: 'host-lost', lost: [{ host: 'h2', agent: agentOf('h2') }], vms: ['c'], detail: 'silent', cut: null, ...changes },
});
const raised = (generation: number, basis = cutOf(1, 1)) => decision('generation.raised', { generation, incarnation: incarnationOf(generation), basis, ahead_ms: 0 });
const committedOnce = [...started(), opened(1), committed(1, null)];

describe('a basis that rests on a damaged object (R18)', () => {
  const bases: StoreView = { generations: [], cuts: [] };
  const spec = (data_loss: 'halt' | 'rollback') => specOf({ policies: { data_loss, recovery_attempts: 5 } });
  const after = (data_loss: 'halt' | 'rollback', changes: object = {}) => stateOf(...started(spec(data_loss)), opened(1), committed(1, null), opened(2), committed(2, 1), raising(2, changes));
  const damage = { of: cutOf(1, 2).hash, cut: cutOf(1, 1), key: 'packs/x' };
  const step = (state: ClusterState, view: StoreView) => decideRaise(state, view, incarnationOf(2), true, 0, 0);

  it('is not taken: halt with what to do, or go to the newest whole one and say so, as the policy is', () => {
    expect(step(after('halt'), { ...bases, damage })).toMatchObject({ decision: { type: 'cluster.halted', data: { reason: 'data-loss', detail: expect.stringContaining('restore --cut 1-1') as string } } });
    const lost = step(after('rollback'), { ...bases, damage });
    expect(lost).toMatchObject({ decision: { type: 'cluster.data-lost', data: { released: cutOf(1, 2), basis: cutOf(1, 1), policy: 'rollback' } } });
    if (lost.kind !== 'append') throw new Error('unreachable');
    expect(step(evolve(after('rollback'), lost.decision), { ...bases, damage })).toMatchObject({ kind: 'raised', data: { basis: cutOf(1, 1) } });
  });

  it('halts where no cut is whole, and for a time travel to it; damage of another cut is nobody\'s', () => {
    expect(step(after('rollback'), { ...bases, damage: { ...damage, cut: null } })).toMatchObject({ decision: { type: 'cluster.halted', data: { detail: expect.stringContaining('none before it') as string } } });
    expect(step(after('rollback', { kind: 'rewind', lost: [], cut: cutOf(1, 2) }), { ...bases, damage })).toMatchObject({ decision: { type: 'cluster.halted', data: { reason: 'data-loss' } } });
    expect(step(after('halt'), { ...bases, damage: { ...damage, of: cutOf(1, 1).hash } })).toMatchObject({ kind: 'raised', data: { basis: cutOf(1, 2) } });
  });
});

describe('a failure raises the generation (R16)', () => {
  it('for a suspected host with VMs, naming the life that is over', () => {
    expect(reactTo(stateOf(...committedOnce), suspected('h2', 1))).toMatchObject({
      kind: 'raise', data: { generation: 2, cause: { kind: 'host-lost', lost: [{ host: 'h2', agent: agentOf('h2') }], vms: ['c'] } },
    });
  });

  it('not for a suspicion of another generation or another life (R21)', () => {
    const state = stateOf(...committedOnce, raising(2), raised(2));
    expect(reactTo(state, suspected('h1', 1)).kind).toBe('ignore');
    expect(reactTo(state, suspected('h1', 2, 7)).kind).toBe('ignore');
    expect(reactTo(state, suspected('h2', 2)).kind).toBe('ignore');
    expect(reactTo(state, suspected('h1', 2)).kind).toBe('raise');
  });

  it('not for a host without VMs: it only leaves', () => {
    expect(reactTo(stateOf(...committedOnce), suspected('h3', 1))).toMatchObject({ kind: 'lose', data: { host: 'h3', agent: agentOf('h3') } });
  });

  it('not while protection is off: no automatic restore (R11)', () => {
    const state = stateOf(...committedOnce, decision('protection.disabled', { by: 'me' }));
    expect(reactTo(state, suspected('h2', 1)).kind).toBe('ignore');
    expect(reactTo(state, report('vm.failed', { host: 'h2', agent: agentOf('h2'), generation: 1, vm: 'c', reason: 'gone' })).kind).toBe('ignore');
  });

  it('for a VM whose process died (R7), where it runs', () => {
    const state = stateOf(...committedOnce);
    const failed = (host: string, vm: string) => report('vm.failed', { host, agent: agentOf(host), generation: 1, vm, reason: 'signal 9' });
    expect(reactTo(state, failed('h1', 'a'))).toMatchObject({ kind: 'raise', data: { generation: 2, cause: { kind: 'vm-failed', lost: [], vms: ['a'] } } });
    expect(reactTo(state, failed('h2', 'a')).kind).toBe('ignore');
    expect(reactTo(stateOf(...committedOnce, raising(2)), failed('h1', 'a')).kind).toBe('ignore');
  });

  it('again when another host dies before the raise is done, and both stay lost', () => {
    const state = stateOf(...committedOnce, raising(2));
    const reaction = reactTo(state, suspected('h1', 1));
    expect(reaction).toMatchObject({ kind: 'raise', data: { generation: 3 } });
    if (reaction.kind !== 'raise') throw new Error('unreachable');
    const next = evolve(state, { type: 'generation.raising', data: reaction.data });
    expect([next.hosts['h1']?.status, next.hosts['h2']?.status]).toEqual(['lost', 'lost']);
  });

  it('when a stage of a recovery failed, onto the same basis (R17)', () => {
    const state = stateOf(...committedOnce, raising(2), raised(2));
    const failed = report('recovery.failed', { host: 'h1', agent: agentOf('h1'), generation: 2, stage: 'load', reason: 'no memory' });
    expect(reactTo(state, failed)).toMatchObject({ kind: 'raise', data: { generation: 3, cause: { kind: 'recovery-failed' } } });
  });
});

describe('the basis (R16)', () => {
  const child = (generation: number, epoch: number, previous: string | null, tag = '') => ({ ref: cutOf(generation, epoch, tag), incarnation: incarnationOf(generation), previous });

  it('is the tip of the log', () => {
    expect(chooseBasis(stateOf(...committedOnce, raising(2)), none)).toEqual(cutOf(1, 1));
  });

  it('is null when nothing was ever committed', () => {
    expect(chooseBasis(stateOf(...started(), raising(2)), none)).toBeNull();
  });

  it('adopts complete manifests without their event, child by child', () => {
    const state = stateOf(...committedOnce, raising(2));
    const cuts = [child(1, 3, cutOf(1, 2).hash), child(1, 2, cutOf(1, 1).hash), child(1, 9, hex('unknown'))];
    expect(chooseBasis(state, { generations: [], cuts })).toEqual(cutOf(1, 3));
    expect(chooseBasis(stateOf(...started(), raising(2)), { generations: [], cuts: [child(1, 1, null)] })).toEqual(cutOf(1, 1));
  });

  it('never adopts a manifest of an older generation beyond the restored cut (R2a)', () => {
    const late = child(1, 2, cutOf(1, 1).hash);
    const state = stateOf(...committedOnce, raising(2), raised(2), raising(3));
    expect(chooseBasis(state, { generations: [], cuts: [late] })).toEqual(cutOf(1, 1));
  });

  it('follows the store when the log lost its end', () => {
    // The log knows generation 1; the store says that generation 2 ran from 1-1 and committed 2-3.
    const state = stateOf(...committedOnce, raising(2));
    const view: StoreView = {
      generations: [{ generation: 1, incarnation: incarnationOf(1), basis: null }, { generation: 2, incarnation: incarnationOf(2), basis: cutOf(1, 1) }],
      cuts: [child(1, 2, cutOf(1, 1).hash), child(2, 3, cutOf(1, 1).hash)],
    };
    expect(chooseBasis(state, view)).toEqual(cutOf(2, 3));
  });

  it('is the asked cut in a time travel, also when another raise comes between', () => {
    const state = stateOf(...committedOnce, opened(2), committed(2, 1), raising(2, { kind: 'rewind', lost: [], cut: cutOf(1, 1) }));
    expect(chooseBasis(state, none)).toEqual(cutOf(1, 1));
    const again = reactTo(state, suspected('h2', 1));
    expect(again).toMatchObject({ kind: 'raise', data: { cause: { kind: 'host-lost', cut: cutOf(1, 1) } } });
  });
});

describe('the steps of a raise (R16)', () => {
  const incarnation = incarnationOf(9);
  const step = (state: ClusterState, view = none, own = true, now_ms = 0) => decideRaise(state, view, incarnation, own, 0, now_ms);

  it('end in generation.raised with a fresh incarnation', () => {
    expect(step(stateOf(...committedOnce, raising(2)))).toEqual({ kind: 'raised', data: { generation: 2, incarnation, basis: cutOf(1, 1) } });
  });

  it('are finished by their author only; another raises again after a while', () => {
    const state = stateOf(...committedOnce, raising(2));
    expect(step(state, none, false)).toEqual({ kind: 'wait', until_ms: limits.takeover_ms });
    expect(step(state, none, false, limits.takeover_ms)).toMatchObject({ kind: 'append', decision: { data: { generation: 3, cause: { kind: 'takeover' } } } });
  });

  it('begin again above every number that the store knows', () => {
    const view: StoreView = { generations: [{ generation: 6, incarnation: hex('x', 32), basis: cutOf(1, 1) }], cuts: [] };
    expect(step(stateOf(...committedOnce, raising(2)), view)).toMatchObject({ kind: 'append', decision: { type: 'generation.raising', data: { generation: 7 } } });
    const own: StoreView = { generations: [{ generation: 2, incarnation, basis: cutOf(1, 1) }], cuts: [] };
    expect(step(stateOf(...committedOnce, raising(2)), own).kind).toBe('raised');
  });

  it('halt without a cut', () => {
    expect(step(stateOf(...started(), raising(2)))).toMatchObject({ kind: 'append', decision: { type: 'cluster.halted', data: { reason: 'no-cut' } } });
  });

  it('halt after too many attempts on one basis, counted anew after a commit (R17)', () => {
    const attempts = [2, 3, 4, 5, 6].flatMap((generation) => [raising(generation), raised(generation)]);
    expect(step(stateOf(...committedOnce, ...attempts, raising(7)))).toMatchObject({ kind: 'append', decision: { data: { reason: 'recovery-attempts' } } });
    expect(step(stateOf(...committedOnce, ...attempts.slice(2), raising(7))).kind).toBe('raised');
  });

  it('halt, or say so, when output left after the basis while protection was off (R18)', () => {
    const off = [decision('protection.disabled', { by: 'me' }), decision('protection.enabled', { by: 'me' })];
    expect(step(stateOf(...committedOnce, ...off, raising(2)))).toMatchObject({ kind: 'append', decision: { data: { reason: 'data-loss' } } });
    const spec = specOf({ policies: { data_loss: 'rollback', recovery_attempts: 5 } });
    let state = stateOf(...committedOnce, decision('cluster.changed', { spec }), ...off, raising(2));
    const lost = step(state);
    expect(lost).toMatchObject({ kind: 'append', decision: { type: 'cluster.data-lost', data: { policy: 'rollback', basis: cutOf(1, 1) } } });
    if (lost.kind === 'append') state = evolve(state, lost.decision);
    expect(step(state).kind).toBe('raised');
  });

  it('tell of a time travel before it is done, once', () => {
    let state = stateOf(...committedOnce, raising(2, { kind: 'rewind', lost: [], cut: cutOf(1, 1), detail: 'olga' }));
    const rewound = step(state);
    expect(rewound).toEqual({ kind: 'append', decision: { type: 'cluster.rewound', data: { cut: cutOf(1, 1), by: 'olga' } } });
    if (rewound.kind === 'append') state = evolve(state, rewound.decision);
    expect(step(state).kind).toBe('raised');
  });
});

describe('the fold', () => {
  it('takes nothing of an old generation, and nothing twice', () => {
    const state = stateOf(...committedOnce, raising(2), raised(2));
    expect(evolve(state, committed(2, 1))).toBe(state);
    expect(evolve(state, raised(2))).toBe(state);
    expect(evolve(state, raising(2))).toBe(state);
    expect(evolve(stateOf(...committedOnce), committed(1, null))).toEqual(stateOf(...committedOnce));
  });

  it('never gives an epoch number twice, also after a recovery', () => {
    const state = stateOf(...committedOnce, opened(2), opened(3), raising(2), raised(2));
    expect(state.epoch).toBe(4);
    expect(state.open).toEqual([]);
  });

  it('keeps a host’s number when it returns', () => {
    const state = stateOf(...committedOnce, raising(2), admitted('h2', 1, { agent: agentOf('h2', 2) }));
    expect(state.hosts['h2']).toMatchObject({ status: 'admitted', number: 1, agent: agentOf('h2', 2) });
  });
});

describe('the clocks of a new generation (R25)', () => {
  const following = (clock: 'stop' | 'follow'): ClusterState => stateOf(decision('cluster.created', { log: hex('log', 32), spec: specOf({ clock }) }));

  it('given the policy follow, when it is raised, then they go on ahead of the basis by the time since its barrier', () => {
    expect(clockAhead_ms(following('follow'), 1_000, 1_730.4)).toBe(730);
  });

  it('given the policy stop, or a log that does not know the barrier, then they go on from the cut', () => {
    expect(clockAhead_ms(following('stop'), 1_000, 1_730)).toBe(0);
    expect(clockAhead_ms(following('follow'), null, 1_730)).toBe(0);
    expect(clockAhead_ms(initialState, 1_000, 1_730)).toBe(0);
  });

  it('given wall clocks that disagree, or an old cut, then never back and never further than a guest bears', () => {
    expect(clockAhead_ms(following('follow'), 5_000, 1_000)).toBe(0);
    expect(clockAhead_ms(following('follow'), 0, 86_400_000)).toBe(limits.clock_ahead_ms);
  });
});
