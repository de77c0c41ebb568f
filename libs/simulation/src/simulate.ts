import { allFaults, plan, type FaultKind } from './faults.js';
import { soundRules, type Rules } from './rules.js';
import { World, type Invariant, type Violation } from './world.js';

export interface Run {
  readonly seed: number;
  readonly violations: readonly Violation[];
  readonly checks: Readonly<Record<Invariant, number>>;
  readonly epochs: { readonly committed: number; readonly aborted: number };
  readonly recoveries: number;
  readonly generation: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly virtual_ms: number;
  readonly events: number;
  readonly outsideFrames: number;
}

export interface RunOptions {
  readonly rules?: Rules;
  readonly faults?: number;
  /** Which kinds; each as often as it is named. */
  readonly kinds?: readonly FaultKind[];
  /** Faults happen until then; after it everything heals. */
  readonly faults_ms?: number;
  /** Then the cluster must be protected again within this (I6). */
  readonly quiet_ms?: number;
}

/** One run of the whole cluster from one seed: the same seed and rules give the same run, event by event. */
export const simulate = async (seed: number, { rules = soundRules, faults = 5, kinds = allFaults, faults_ms = 5_000, quiet_ms = 9_000 }: RunOptions = {}): Promise<Run> => {
  const world = new World(seed, rules);
  const planned = plan(world, faults_ms, faults, kinds);
  await world.clock.run(faults_ms + quiet_ms);
  world.checkLiveness();
  const { violations, checks, truth, clock } = world;
  return {
    seed, violations, checks, epochs: truth.epochs, recoveries: truth.recoveries, generation: truth.generation, faults: planned,
    virtual_ms: clock.now_ms, events: clock.events, outsideFrames: world.outsideFrames,
  };
};
