import { failureKinds, type FailureKind, type Phase } from '../report/demo-report.js';
import type { Aim } from './moment.js';
import { Random } from './random.js';

/** One failure of the script. `host` picks among the hosts that may die then. */
export interface PlannedKill { readonly aim: Aim; readonly kind: FailureKind; readonly host: number; /** Comes while the recovery of the kill before is under way, or just over: no rejoin between. */ readonly follows: boolean }

/** Phases that a first kill can hit; the other two need a recovery to be under way or just over. */
const alone: readonly Phase[] = ['idle', 'paused', 'captured', 'part-stored', 'manifest-not-logged', 'committed-not-released'];
const followers: readonly Phase[] = ['syncing', 'recovering'];

/** What will be done to the cluster: a pure function of the seed. At most one kill follows another, since three hosts lose two at most. */
export function planKills(seed: number, kills: number, wanted: readonly Phase[] | null, failure: FailureKind | null = 'kill'): PlannedKill[] {
  const random = new Random(seed);
  // Drawn apart, so that a seed aims at the same moments whatever happens to the hosts then.
  const kinds = new Random(seed ^ 0x5f3759df);
  const plan: PlannedKill[] = [];
  for (let i = 0; i < kills; i += 1) {
    const mayFollow = plan.at(-1)?.follows === false;
    const chosen = random.pick(mayFollow ? [...alone, ...followers] : alone);
    const phase = wanted === null ? chosen : wanted[i % wanted.length] ?? chosen;
    if (followers.includes(phase) && !mayFollow) throw new RangeError(`kill ${i + 1} is to hit "${phase}", which needs another kill just before it: write for example --phases idle,${phase}`);
    plan.push({ aim: { phase, within: random.next() }, kind: failure ?? kinds.pick(failureKinds), host: random.next(), follows: followers.includes(phase) });
  }
  return plan;
}

/** VMs that one host must have room for: where two hosts die with no rejoin between, the third takes all. */
export function roomNeeded(plan: readonly PlannedKill[], vms: number): number {
  return plan.some(({ follows }) => follows) ? vms : vms - 1;
}
