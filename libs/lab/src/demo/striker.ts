import { setPriority } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import { of } from './facts.js';
import type { Kill } from './failure.js';
import { strikeAt, tooLate } from './moment.js';
import { phaseAt } from './phase.js';
import type { PlannedKill } from './script.js';
import type { World } from './world.js';

const LONGEST_AIM_MS = 20_000; // a phase that does not come by then is not waited for: the kill comes anyway, and the report says what it hit
const STRIKER_NICE = -15;
const SETTLE_MS = 300; // what had been published before the kill has arrived by then

/** Destroys or freezes the host at the moment aimed at, and at the latest after `longest_ms`; what the cluster was really doing is read from the log afterwards. */
export async function strike({ watch, installation, lab }: World, victim: string, { aim, kind }: Pick<PlannedKill, 'aim' | 'kind'>, filling: Filling, longest_ms = LONGEST_AIM_MS): Promise<Kill> {
  // A phase may last a few milliseconds: whoever strikes must not wait behind the guests.
  setPriority(STRIKER_NICE);
  const at_ms = await new Promise<number>((resolve, reject) => {
    let aimed: NodeJS.Timeout | null = null;
    const kill = (): void => {
      stop();
      clearTimeout(late);
      if (aimed !== null) clearTimeout(aimed);
      const at_ms = performance.timeOrigin + performance.now();
      if (kind === 'freeze') {
        lab.freezeHost(victim);
        resolve(at_ms);
      } else installation.killHost(victim).then(() => { resolve(at_ms); }, reject);
    };
    const late = setTimeout(kill, longest_ms);
    const stop = watch.onFact(() => {
      const delay_ms = strikeAt(aim, victim, watch.facts);
      if (delay_ms === 0) kill();
      else if (delay_ms !== null && aimed === null) aimed = setTimeout(() => {
        aimed = null;
        if (!tooLate(aim, watch.facts)) kill();
      }, delay_ms);
    });
  });
  setPriority(0);
  await wait(SETTLE_MS);
  return { host: victim, kind, at_ms, aimed: aim.phase, phase: phaseAt(watch.facts, victim, at_ms, filling.at(at_ms)) };
}

/** Which VMs still wait for parts of their memory, by their hosts' heartbeats. */
export class Filling {
  readonly #filling = new Map<string, { host: string; from_ms: number; until_ms: number }>();

  constructor(world: Pick<World, 'bus' | 'watch'>, signal: AbortSignal, filled: (vm: string, host: string) => void) {
    world.watch.onFact((fact) => {
      const planned = of(fact, 'recovery.planned');
      // A moved VM has nothing of its memory until a heartbeat says that it has all.
      for (const { vm, to } of planned?.moves ?? []) this.#filling.set(vm, { host: to, from_ms: fact.at_ms, until_ms: Infinity });
    });
    void world.bus.watchHeartbeats(signal, ({ host, vms }) => {
      for (const { vm, filling } of vms) {
        const known = this.#filling.get(vm);
        if (known?.host !== host || filling === true || known.until_ms !== Infinity) continue;
        known.until_ms = performance.timeOrigin + performance.now();
        filled(vm, host);
      }
    });
  }

  /** Whether some VM still filled at this moment. */
  at(at_ms: number): boolean {
    return [...this.#filling.values()].some(({ from_ms, until_ms }) => from_ms <= at_ms && at_ms < until_ms);
  }
}
