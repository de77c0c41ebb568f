import fc from 'fast-check';
import type { Decision } from '@virtcft/events';
import { decideEpochs, evolve, initialState, isVoid, noteDecision, noteReport, emptyLedger, noteTip, type ClusterState, type EpochLedger } from '../src/index.js';
import { agentOf, cluster, cutOf, decision, hex, incarnationOf, report, segmentOf, specOf, started, Story } from './story.js';

/** One event of a run: time passes, a host stores a part (with this parent) or stands at a barrier, a capture fails, the barrier changes, a host dies and is recovered from. */
const event = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.integer({ min: 1, max: 3_000 }) }) },
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('store' as const), host: fc.constantFrom('h1', 'h2'), back: fc.integer({ min: 0, max: 3 }), parent: fc.integer({ min: 0, max: 4 }) }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('reach' as const), host: fc.constantFrom('h1', 'h2') }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('fail' as const), host: fc.constantFrom('h1', 'h2'), waited: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('barrier' as const), barrier: fc.constantFrom('coloured' as const, 'two-phase' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('raise' as const) }) },
);

const recover = (story: Story): void => {
  const basis = story.state.tip;
  if (basis === null) return;
  const generation = story.state.highestGeneration + 1;
  const members = Object.values(story.state.hosts).map(({ host, agent }) => ({ host, agent }));
  story.given(
    decision('generation.raising', { generation, cause: { kind: 'vm-failed', lost: [], vms: ['a'], detail: '', cut: null } }),
    decision('generation.raised', { generation, incarnation: incarnationOf(generation), basis, ahead_ms: 0 }),
    decision('recovery.planned', { generation, epoch: story.state.epoch, placement: story.state.placement, members, moves: [] }),
    decision('recovery.resumed', { generation }), decision('recovery.completed', { generation }));
};

describe('whatever the order of events', () => {
  it('epochs are decided in order, commits have no hole, generations only rise', () => {
    let [commits, seals] = [0, 0];
    fc.assert(fc.property(fc.constantFrom('coloured' as const, 'two-phase' as const), fc.array(event, { minLength: 10, maxLength: 150 }), (barrier, events) => {
      const story = new Story().given(...started(specOf({ barrier }))).running();
      /** `epoch host`: who stands at which barrier. */
      const reached = new Set<string>();
      /** Segments that reached the store, by hash; what a restore could read. */
      const stored = new Map<string, string | null>();
      for (const one of events) {
        if (one.kind === 'time') story.at(story.now_ms + one.ms);
        if (one.kind === 'raise') recover(story);
        if (one.kind === 'fail') story.fails(one.host, Math.max(1, story.state.epoch - 1), one.waited);
        if (one.kind === 'barrier') story.given(decision('cluster.changed', { spec: specOf({ barrier: one.barrier }) }));
        if (one.kind === 'reach') {
          story.reach(story.state.epoch - 1, one.host);
          reached.add(`${story.state.epoch - 1} ${one.host}`);
        }
        if (one.kind === 'store') {
          const epoch = story.state.epoch - 1 - one.back;
          // Encoded once: a host stores one part of an epoch.
          if (epoch < 1 || stored.has(hex(`${one.host === 'h1' ? 'a' : 'c'}-${epoch}`))) continue;
          const parent = one.parent === 0 ? null : Math.max(0, epoch - one.parent);
          story.stores(one.host, epoch, parent === 0 ? null : parent);
          for (const vm of one.host === 'h1' ? ['a', 'b'] : ['c']) stored.set(hex(`${vm}-${epoch}`), parent === null || parent === 0 ? null : hex(`${vm}-${parent}`));
        }
        const before = story.log.length;
        const tipBefore = story.state.tip;
        story.run();
        for (const made of story.log.slice(before)) {
          if (made.type === 'epoch.sealed') {
            seals++;
            for (const host of ['h1', 'h2']) expect(reached.has(`${made.data.epoch} ${host}`)).toBe(true);
          }
          if (made.type !== 'epoch.committed') continue;
          commits++;
          expect(made.data.epoch).toBeGreaterThan(tipBefore?.epoch ?? 0);
          for (const vm of ['a', 'b', 'c']) {
            let at: string | null | undefined = hex(`${vm}-${made.data.epoch}`);
            for (let steps = 0; typeof at === 'string'; steps++) {
              expect(stored.has(at)).toBe(true);
              expect(steps).toBeLessThan(1_000);
              at = stored.get(at);
            }
          }
        }
      }
      const decided = story.log.flatMap((made) => (made.type === 'epoch.committed' || made.type === 'epoch.aborted' ? [made.data.epoch] : []));
      expect(decided).toEqual([...decided].sort((a, b) => a - b));
      expect(new Set(decided).size).toBe(decided.length);
      const openings = story.log.flatMap((made) => (made.type === 'epoch.opened' ? [made.data.epoch] : []));
      expect(new Set(openings).size).toBe(openings.length);
      const raised = story.log.flatMap((made) => (made.type === 'generation.raised' ? [made.data.generation] : []));
      expect(raised).toEqual([...new Set(raised)].sort((a, b) => a - b));
      expect(story.state.open.length).toBeLessThanOrEqual(2);
      // Only the newest barrier can have hosts that stand at it.
      expect(story.state.open.slice(0, -1).every(({ sealed }) => sealed)).toBe(true);
      const sealings = story.log.flatMap((made) => (made.type === 'epoch.sealed' ? [made.data.epoch] : []));
      expect(new Set(sealings).size).toBe(sealings.length);
    }), { numRuns: 200 });
    expect(commits).toBeGreaterThan(25);
    expect(seals).toBeGreaterThan(25);
  });

  it('of two coordinators at most one decision wins each place, and none that loses changes anything', () => {
    type Mind = { state: ClusterState; ledger: EpochLedger; at: number };
    fc.assert(fc.property(fc.array(fc.record({ who: fc.integer({ min: 0, max: 1 }), act: fc.constantFrom('step', 'catch-up', 'reach-h1', 'reach-h2', 'store-h1', 'store-h2', 'time') }), { minLength: 20, maxLength: 200 }), fc.constantFrom('coloured' as const, 'two-phase' as const), (plays, barrier) => {
      const log: Decision[] = [...started(specOf({ barrier }))];
      const minds: Mind[] = [0, 1].map(() => ({ state: initialState, ledger: emptyLedger, at: 0 }));
      let now_ms = 0;
      const catchUp = (mind: Mind): void => {
        for (; mind.at < log.length; mind.at++) {
          mind.state = evolve(mind.state, log[mind.at]!);
          mind.ledger = noteDecision(mind.ledger, mind.state, log[mind.at]!, now_ms);
        }
      };
      const tell = (host: string): void => {
        for (const mind of minds) {
          for (const { epoch } of mind.state.open) {
            const parent = epoch === 1 ? null : epoch - 1;
            mind.ledger = noteReport(mind.ledger, mind.state, report('segments.stored', {
              host, agent: agentOf(host), generation: 1, epoch, pack: { key: `${host}-${epoch}`, hash: hex(`${host}-${epoch}`), bytes: 1 },
              segments: (host === 'h1' ? ['a', 'b'] : ['c']).map((vm) => segmentOf(vm, epoch, parent === null ? null : hex(`${vm}-${parent}`))),
              channels: { frames: 0, down: [] }, pauses: [], verified: { checks: 0, differing: 0 }, nics: [],
            }));
          }
        }
      };
      const reach = (host: string): void => {
        for (const mind of minds) {
          for (const { epoch } of mind.state.open) mind.ledger = noteReport(mind.ledger, mind.state, report('barrier.reached', { host, agent: agentOf(host), generation: 1, epoch }));
        }
      };
      for (const mind of minds) {
        catchUp(mind);
        for (const [host, vms] of [['h1', ['a', 'b']], ['h2', ['c']]] as const) {
          mind.ledger = noteReport(mind.ledger, mind.state, report('vms.started', { host, agent: agentOf(host), generation: 1, vms: [...vms] }));
        }
      }
      for (const { who, act } of plays) {
        const mind = minds[who]!;
        if (act === 'time') now_ms += 700;
        else if (act === 'catch-up') catchUp(mind);
        else if (act.startsWith('reach')) reach(act.slice(6));
        else if (act !== 'step') tell(act.slice(6));
        else {
          const step = decideEpochs(cluster, mind.state, mind.ledger, now_ms);
          if (step.kind === 'learn') mind.ledger = noteTip(mind.ledger, step.cut.hash, Object.fromEntries(['a', 'b', 'c'].map((vm) => [vm, hex(`${vm}-${step.cut.epoch}`)])));
          const wanted: Decision | null = step.kind === 'open' ? { type: 'epoch.opened', data: step.data }
            : step.kind === 'seal' ? { type: 'epoch.sealed', data: step.data }
            : step.kind === 'abort' ? { type: 'epoch.aborted', data: step.data }
            : step.kind === 'commit' ? decision('epoch.committed', { generation: 1, epoch: step.content.epoch, cut: cutOf(1, step.content.epoch), previous: step.content.previous })
            : null;
          // The append's expected sequence: a coordinator that is behind is refused.
          if (wanted !== null && mind.at === log.length) log.push(wanted);
          catchUp(mind);
        }
      }
      let state = initialState;
      for (const one of log) {
        expect(isVoid(state, one)).toBe(false);
        state = evolve(state, one);
      }
    }), { numRuns: 200 });
  });
});
