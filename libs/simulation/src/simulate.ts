import type { Barrier } from '@virtcft/events';
import { allFaults, plan, type FaultKind } from './faults.js';
import { soundRules, type Rules } from './rules.js';
import { World, type Invariant, type Violation } from './world.js';

/** How the hosts cut: one way throughout, or changed by an operator now and then. */
export type Barriers = Barrier | 'changing';
export const allBarriers: readonly Barriers[] = ['coloured', 'two-phase', 'changing'];

export interface Run {
  readonly seed: number;
  readonly barrier: Barriers;
  readonly violations: readonly Violation[];
  readonly checks: Readonly<Record<Invariant, number>>;
  readonly epochs: { readonly committed: number; readonly aborted: number; readonly sealed: number };
  readonly recoveries: number;
  readonly generation: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly virtual_ms: number;
  readonly events: number;
  readonly outsideFrames: number;
}

export interface RunOptions {
  readonly rules?: Rules;
  /** By the seed, where it is not said. */
  readonly barrier?: Barriers;
  readonly faults?: number;
  /** Which kinds; each as often as it is named. */
  readonly kinds?: readonly FaultKind[];
  /** Faults happen until then; after it everything heals. */
  readonly faults_ms?: number;
  /** Then the cluster must be protected again within this (I6). */
  readonly quiet_ms?: number;
}

const byTurns = (seed: number): Barriers => allBarriers[seed % allBarriers.length] ?? 'coloured';

/** An operator applies a file with the other barrier, again and again. */
const changeBarrier = (world: World, end_ms: number): void => {
  for (let at_ms = world.random.between(500, 1_000); at_ms < end_ms; at_ms += world.random.between(300, 900)) {
    world.clock.at(at_ms, () => {
      const barrier = world.truth.spec?.barrier === 'two-phase' ? 'coloured' : 'two-phase';
      world.coordinators[0]?.ask({ type: 'cluster.changed', data: { spec: { ...world.spec, barrier } } });
    });
  }
};

/** One run of the whole cluster from one seed: the same seed and rules give the same run, event by event. */
export const simulate = async (seed: number, { rules = soundRules, barrier = byTurns(seed), faults = 5, kinds = allFaults, faults_ms = 5_000, quiet_ms = 9_000 }: RunOptions = {}): Promise<Run> => {
  const world = new World(seed, rules, barrier === 'coloured' ? 'coloured' : 'two-phase');
  if (barrier === 'changing') changeBarrier(world, faults_ms);
  const planned = plan(world, faults_ms, faults, kinds);
  await world.clock.run(faults_ms + quiet_ms);
  world.checkLiveness();
  const { violations, checks, truth, clock } = world;
  return {
    seed, barrier, violations, checks, epochs: { ...truth.epochs, sealed: world.sealed }, recoveries: truth.recoveries, generation: truth.generation, faults: planned,
    virtual_ms: clock.now_ms, events: clock.events, outsideFrames: world.outsideFrames,
  };
};
