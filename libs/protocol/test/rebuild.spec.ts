import { decideRaise, decideRebuild, decideReturn, definitionOf, evolve, fold, highestKnown, initialState, limits, lineageOf, newAgent, pinsOf, placeRecovery, react, type ClusterState, type Findings, type StoreView } from '../src/index.js';
import { admitted, agentOf, cluster, cutOf, decision, hex, identity, incarnationOf, specOf, started } from './story.js';

const record = (generation: number, basis: StoreView['generations'][number]['basis'] = null) => ({ generation, incarnation: incarnationOf(generation), basis });
const stored = (generation: number, epoch: number, previous: string | null, incarnation = incarnationOf(generation)) => ({ ref: cutOf(generation, epoch), incarnation, previous });
/** Generation 1 to cut 1-3, generation 2 from 1-2 on with one cut of its own; 1-3 is beyond its basis. */
const view: StoreView = {
  generations: [record(1), record(2, cutOf(1, 2))],
  cuts: [stored(1, 1, null), stored(1, 2, cutOf(1, 1).hash), stored(1, 3, cutOf(1, 2).hash), stored(2, 5, cutOf(1, 2).hash)],
};
const placement = { a: 'h1', b: 'h1', c: 'h2' };
const definition = (changes: Partial<Findings['definition']> = {}): Findings['definition'] => ({ cluster, version: 3, spec: specOf(), protected: true, stopped: false, pins: [], ...changes });
const findings = (changes: Partial<Findings> = {}): Findings => ({ definition: definition(), view, placement, captured: {}, epoch: 6, seen: [], ...changes });
const rebuilt = (changes: Partial<Findings> = {}): ClusterState => fold([{ type: 'cluster.rebuilt', data: decideRebuild(findings(changes), hex('new log', 32), 'olga') }], initialState);

describe('the definition in the store', () => {
  it('is a pure function of the log, and a new version with each change of the file, of protection and of pins, and with no other', () => {
    const log = [...started(), decision('protection.disabled', { by: 'o' }), decision('protection.enabled', { by: 'o' }), decision('cluster.changed', { spec: specOf({ interval_ms: 50 }) }),
      decision('cut.pinned', { pin: { name: 'p', cut: cutOf(1, 1), by: 'o' } }), decision('cut.unpinned', { name: 'p', by: 'o' }), decision('cluster.stopped', { by: 'o' })];
    const versions: number[] = [];
    let state = initialState;
    for (const one of log) versions.push((state = evolve(state, one)).definition);
    expect(versions).toEqual([1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7]);
    expect(definitionOf(cluster, state)).toEqual({ cluster, version: 7, spec: specOf({ interval_ms: 50 }), protected: true, stopped: true, pins: [] });
    expect(definitionOf(cluster, initialState)).toBeNull();
  });
});

describe('a log that is made anew from the store (R16)', () => {
  it('goes on from the tip of the newest generation; a newer manifest of an older one is void (R2a)', () => {
    const lineage = lineageOf(view);
    expect(lineage).toMatchObject({ record: { generation: 2 }, tip: cutOf(2, 5), disks: null });
    expect(lineageOf({ generations: view.generations, cuts: view.cuts.filter(({ ref }) => ref.generation === 1) })).toMatchObject({ tip: cutOf(1, 2), void: [cutOf(1, 3)] });
  });

  it('takes no manifest of another incarnation, and none whose parent is missing', () => {
    const cuts = [...view.cuts, stored(2, 7, cutOf(2, 6).hash), stored(2, 6, cutOf(2, 5).hash, hex('rival', 32))];
    expect(lineageOf({ ...view, cuts })).toMatchObject({ tip: cutOf(2, 5), void: [cutOf(2, 7), cutOf(2, 6)] });
  });

  it('goes on behind what a retention let go, where bases stand for it (R23)', () => {
    const behind = (based: boolean): StoreView['cuts'] => [...view.cuts, { ...stored(2, 9, cutOf(2, 8).hash), based }, stored(2, 10, cutOf(2, 9).hash)];
    expect(lineageOf({ ...view, cuts: behind(true) })).toMatchObject({ tip: cutOf(2, 10), void: [] });
    expect(lineageOf({ ...view, cuts: behind(false) })).toMatchObject({ tip: cutOf(2, 5), void: [cutOf(2, 9), cutOf(2, 10)] });
    // The very first is gone as well, and so is the basis.
    expect(lineageOf({ ...view, cuts: behind(true).slice(-2) })).toMatchObject({ tip: cutOf(2, 10), void: [] });
    expect(lineageOf({ ...view, cuts: [{ ...stored(2, 9, cutOf(2, 8).hash, hex('rival', 32)), based: true }, ...view.cuts] })).toMatchObject({ tip: cutOf(2, 5), void: [cutOf(2, 9)] });
  });

  it('loses no VM that the tip does not hold: it begins anew, at first where its file places it (R20)', () => {
    const state = rebuilt({ placement: { a: 'h2', c: 'h2' } });
    expect(state.placement).toEqual({ a: 'h2', b: 'h1', c: 'h2' });
    const raise = { generation: 3, cause: { kind: 'rebuild' as const, lost: [], vms: [], detail: '', cut: null } };
    const raised = { generation: 3, incarnation: incarnationOf(3), basis: cutOf(2, 5), ahead_ms: 0, vms: ['a', 'c'] };
    expect(fold([admitted('h1', 0), admitted('h2', 1), decision('generation.raising', raise), decision('generation.raised', raised)], state).syncing).toEqual(['b']);
  });

  it('begins above every number that the store or any agent knows, and above every epoch', () => {
    expect(highestKnown(findings({ seen: [9, 4] }))).toBe(9);
    const state = rebuilt({ seen: [9] });
    expect(state).toMatchObject({ stage: 'rebuilt', generation: 2, incarnation: incarnationOf(2), highestGeneration: 9, tip: cutOf(2, 5), placement, epoch: 6 + limits.rebuilt_epochs });
    const step = decideReturn(fold([admitted('h1', 0), admitted('h2', 1)], state), 0, 0);
    expect(step).toMatchObject({ kind: 'raise', data: { generation: 10, cause: { kind: 'rebuild', cut: null } } });
    // A record that was put for a raise of which nothing else is known counts too.
    expect(rebuilt({ view: { ...view, generations: [...view.generations, record(3, cutOf(2, 5))] } })).toMatchObject({ generation: 3, highestGeneration: 3, tip: cutOf(2, 5) });
  });

  it('is void where the log is not empty, and is the same whoever makes it', () => {
    const data = decideRebuild(findings(), hex('new log', 32), 'olga');
    expect(decideRebuild(findings(), hex('new log', 32), 'olga')).toEqual(data);
    const state = fold(started(), initialState);
    expect(evolve(state, { type: 'cluster.rebuilt', data })).toBe(state);
  });

  it('keeps pins, and says so anew in the store', () => {
    const pin = { name: 'p', cut: cutOf(1, 1), by: 'olga' };
    const state = rebuilt({ definition: definition({ pins: [pin] }) });
    expect(pinsOf(state).get(cutOf(1, 1).hash)).toBe('pin p of olga');
    expect(definitionOf(cluster, state)).toMatchObject({ version: 4, pins: [pin] });
  });

  it('waits for the hosts of the tip, but not for ever', () => {
    const state = rebuilt();
    expect(decideReturn(state, 0, 10 * limits.start_grace_ms)).toEqual({ kind: 'wait', waitsFor: 'hosts h1, h2', until_ms: null });
    const one = fold([admitted('h3', 0)], state);
    expect(decideReturn(one, 0, 0)).toEqual({ kind: 'wait', waitsFor: 'hosts h1, h2', until_ms: limits.start_grace_ms });
    expect(decideReturn(one, 0, limits.start_grace_ms).kind).toBe('raise');
  });

  it('loads a VM only where its hypervisor is the one that captured it, also on the host that did (R20)', () => {
    const other = { ...identity, version: '8.0.0' };
    const captured = { a: identity, b: identity, c: identity };
    const raised = (state: ClusterState): ClusterState => fold([
      decision('generation.raising', { generation: 3, cause: { kind: 'rebuild', lost: [], vms: [], detail: '', cut: null } }), decision('generation.raised', { generation: 3, incarnation: incarnationOf(3), basis: cutOf(2, 5), ahead_ms: 0 }),
    ], state);
    const state = raised(fold([admitted('h1', 0, { identity: other }), admitted('h3', 1)], rebuilt({ captured })));
    expect(placeRecovery(state)).toMatchObject({ placement: { a: 'h3', b: 'h3', c: 'h3' }, stuck: [] });
    expect(placeRecovery(raised(fold([admitted('h1', 0, { identity: other }), admitted('h2', 1)], rebuilt({ captured: { ...captured, c: other } }))))).toMatchObject({ stuck: [], placement: { a: 'h2', b: 'h2', c: 'h1' } });
    expect(placeRecovery(raised(fold([admitted('h1', 0, { identity: other })], rebuilt({ captured })))).stuck).toEqual(['a', 'b', 'c']);
  });

  it('begins VMs anew that the tip does not hold, on every agent alike (R20)', () => {
    const data = decideRebuild(findings({ placement: { a: 'h1', c: 'h2' } }), hex('new log', 32), 'olga');
    expect(data.placement).toEqual(placement);
    const log = [
      { type: 'cluster.rebuilt' as const, data }, admitted('h1', 0), admitted('h2', 1), decision('generation.raising', { generation: 3, cause: { kind: 'rebuild', lost: [], vms: [], detail: '', cut: null } }),
      decision('generation.raised', { generation: 3, incarnation: incarnationOf(3), basis: cutOf(2, 5), ahead_ms: 0, vms: ['a', 'c'] }),
    ];
    const state = fold(log, initialState);
    expect(state.syncing).toEqual(['b']);
    const plan = placeRecovery(state);
    let agent = newAgent({ host: 'h1', agent: agentOf('h1') });
    for (const one of log) agent = react(agent, one).state;
    const planned = react(agent, decision('recovery.planned', { generation: 3, epoch: state.epoch, placement: plan.placement, members: [{ host: 'h1', agent: agentOf('h1') }, { host: 'h2', agent: agentOf('h2') }], moves: [] }));
    expect(planned.orders.find(({ kind }) => kind === 'load')).toMatchObject({ vms: ['a'], fresh: ['b'] });
  });

  it('of a cluster whose protection was off is a time travel: the outside saw more than the cut holds (R11, R18)', () => {
    const state = fold([admitted('h1', 0), admitted('h2', 1)], rebuilt({ definition: definition({ protected: false }) }));
    const step = decideReturn(state, 0, 0);
    expect(step).toMatchObject({ kind: 'raise', data: { cause: { kind: 'rebuild', cut: cutOf(2, 5) } } });
    if (step.kind !== 'raise') throw new Error('unreachable');
    const raising = evolve(state, { type: 'generation.raising', data: step.data });
    expect(decideRaise(raising, view, hex('mine', 32), true, 0, 0)).toMatchObject({ kind: 'append', decision: { type: 'cluster.rewound', data: { cut: cutOf(2, 5) } } });
  });

  it('of a cluster that booted and committed nothing boots it again, with the disks of the lineage before', () => {
    const state = rebuilt({ view: { generations: [...view.generations, record(3)], cuts: view.cuts } });
    expect(state).toMatchObject({ stage: 'waiting', generation: 3, tip: null, disks: cutOf(2, 5), placement: {} });
    expect(rebuilt({ view: { generations: [], cuts: [] }, epoch: 0 })).toMatchObject({ stage: 'waiting', generation: 0, tip: null, disks: null, epoch: 0 });
  });

  it('of a stopped cluster leaves it stopped, with the disks of its last cut', () => {
    const state = rebuilt({ definition: definition({ stopped: true }) });
    expect(state).toMatchObject({ stage: 'stopped', tip: cutOf(2, 5), placement: {} });
    expect(evolve(state, decision('cluster.changed', { spec: specOf() })).stage).toBe('waiting');
  });
});
