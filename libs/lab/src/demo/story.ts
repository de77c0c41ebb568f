import { setTimeout as wait } from 'node:timers/promises';
import type { Oracles } from '../oracles/all.js';
import type { Failure } from '../report/demo-report.js';
import { all } from './facts.js';
import { recoveryTimes, type Kill } from './failure.js';
import { Frozen } from './frozen.js';
import { inspect } from './inspection.js';
import type { PlannedKill } from './script.js';
import { Filling, strike } from './striker.js';
import type { Timeline } from './timeline.js';
import type { World } from './world.js';

const RECOVERED_MS = 60_000; // far above any sound recovery
const REJOINED_MS = 60_000;
const FIRST_ANSWER_MS = 60_000;
const CHAINED_AIM_MS = 90_000; // for a kill that waits for the recovery of the one before
const FROZEN_MS = 10_000; // far beyond any recovery: who wakes finds a cluster that has gone on
const STEADY_CUTS = 30; // between two failures, so that pauses and store times are known

export interface StoryOptions { readonly world: World; readonly oracles: Oracles; readonly timeline: Timeline; readonly room: { readonly vms_per_host: number }; readonly signal: AbortSignal }

/** The demo's one story: steady work, hosts that die, recoveries, hosts that come back; everything is looked at between. */
export class Story {
  readonly failures: Failure[] = [];
  readonly #filling: Filling;
  #frozen: Frozen[] = [];

  constructor(private readonly options: StoryOptions) {
    this.#filling = new Filling(options.world, options.signal, (vm, host) => { options.timeline.note(`${vm} has all of its memory on ${host}`); });
  }

  /** Ends early when something is found broken: what comes after a broken invariant says nothing. */
  async play(plan: readonly PlannedKill[]): Promise<void> {
    await this.#steady();
    if (!await this.#inspect('before the first failure')) return;
    for (let i = 0; i < plan.length; i += 1) {
      const first = plan[i];
      const next = plan[i + 1];
      if (first === undefined) break;
      const chain = next?.follows === true ? [first, next] : [first];
      i += chain.length - 1;
      await this.#fail(chain);
      if (!await this.#inspect(`after ${chain.length === 1 ? `failure ${i + 1}` : `failures ${i} and ${i + 1}`}`)) return;
      await this.#rejoin();
      const sound = await this.#inspect('after the hosts\' return');
      await this.#judgeWoken();
      if (!sound || this.options.oracles.woken.violations > 0) return;
      if (i < plan.length - 1) await this.#steady();
    }
  }

  async #fail(chain: readonly PlannedKill[]): Promise<void> {
    const { world, timeline } = this.options;
    const victims = this.#victims(chain);
    await world.outside.probe();
    const kills = await Promise.all(chain.map(async (planned, position): Promise<Kill> => {
      const victim = victims[position];
      if (victim === undefined) throw new Error('there is no host left to destroy');
      const listener = planned.kind === 'freeze' ? await Frozen.listen(world, victim) : null;
      const kill = await strike(world, victim, planned, this.#filling, position === 0 ? undefined : CHAINED_AIM_MS);
      const { aim } = planned;
      timeline.note(`${victim} ${kill.kind === 'freeze' ? 'stands still' : 'is destroyed'}, with everything on it, while ${kill.phase}${kill.phase === aim.phase ? '' : ` (aimed at ${aim.phase})`}`, kill.at_ms);
      if (listener !== null) this.#frozen.push(listener.since(kill.at_ms));
      await world.outside.mark(kill.at_ms - performance.timeOrigin);
      return kill;
    }));
    const last = kills.at(-1);
    if (last === undefined) return;
    const generation = await world.watch.until(`the recovery from the loss of ${victims.join(' and ')}`, RECOVERED_MS, () => recoveryTimes(world.watch.facts, last)?.generation);
    const first = await world.watch.until(`a cut of generation ${generation}`, RECOVERED_MS, () => all(world.watch.facts, 'epoch.committed').find(({ data }) => data.generation === generation));
    timeline.note(`protected again: cut ${generation}-${first.data.epoch} is committed`, first.fact.at_ms);
    const answered_ms = await this.#firstAnswer(last.at_ms);
    if (answered_ms !== null) timeline.note('a client that has just arrived is answered', answered_ms);
    await world.outside.rest();
    for (const kill of kills) {
      const times = recoveryTimes(world.watch.facts, kill);
      if (times === null) throw new Error(`the log does not say how the cluster recovered from the loss of ${kill.host}`);
      this.failures.push({ ...times, host: kill.host, kind: kill.kind, aimed: kill.aimed, phase: kill.phase, first_answer_ms: answered_ms === null ? null : Math.round((answered_ms - kill.at_ms) * 10) / 10 });
    }
  }

  /** Hosts that die, in order: first one with VMs; then, for a second, another one while at least one is left. */
  #victims(chain: readonly PlannedKill[]): string[] {
    const { state } = this.options.world.watch;
    const alive = Object.values(state.hosts).filter(({ status }) => status === 'admitted').map(({ host }) => host).toSorted();
    const working = alive.filter((host) => Object.values(state.placement).includes(host));
    const victims: string[] = [];
    for (const { host } of chain) {
      const left = (victims.length === 0 ? working : alive).filter((name) => !victims.includes(name));
      const victim = left[Math.floor(host * left.length)];
      if (victim === undefined) throw new Error('no host is left to destroy');
      victims.push(victim);
    }
    return victims;
  }

  /** When a client that has just arrived was answered first, milliseconds since 1970; null: not in time. */
  async #firstAnswer(since_ms: number): Promise<number | null> {
    for (const until = Date.now() + FIRST_ANSWER_MS; Date.now() < until; await wait(50)) {
      const { first_answer_ms } = (await this.options.world.outside.status()).probe;
      if (first_answer_ms !== null) return since_ms + first_answer_ms;
    }
    return null;
  }

  /** What died comes back with nothing but its name; what stood still wakes, and finds that the cluster goes on without it. */
  async #rejoin(): Promise<void> {
    const { world, timeline } = this.options;
    const dead = Object.values(world.watch.state.hosts).filter(({ status }) => status === 'lost').map(({ host }) => host);
    for (const host of dead) {
      const frozen = this.#frozen.find((each) => each.host === host);
      timeline.note(`${host} ${frozen === undefined ? 'is switched on again, empty' : 'is about to wake'}`);
      if (frozen === undefined) await world.installation.startHost(host);
      else await frozen.wake(FROZEN_MS, timeline);
    }
    await world.watch.until(`the return of ${dead.join(', ')}`, REJOINED_MS, () => dead.every((host) => world.watch.state.hosts[host]?.status === 'admitted'));
  }

  /** After what came back has had time to say something. */
  async #judgeWoken(): Promise<void> {
    for (const frozen of this.#frozen) await frozen.judge(this.options.oracles.woken);
    this.#frozen = [];
  }

  async #steady(): Promise<void> {
    const { watch } = this.options.world;
    const from = watch.state.epochs.committed;
    await watch.until(`${STEADY_CUTS} cuts in a row`, RECOVERED_MS, () => watch.state.epochs.committed >= from + STEADY_CUTS);
  }

  async #inspect(when: string): Promise<boolean> {
    const { world, oracles, room, timeline } = this.options;
    const before = oracles.list.reduce((sum, { violations }) => sum + violations, 0);
    await inspect({ watch: world.watch, guests: world.guests, oracles, room, outside: world.outside }, when);
    const found = oracles.list.reduce((sum, { violations }) => sum + violations, 0) - before;
    timeline.note(`${when}: ${found === 0 ? 'writes, bank, connections and memory are as they must be' : `${found} VIOLATIONS`}`);
    return found === 0;
  }
}
