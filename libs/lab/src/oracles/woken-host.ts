import { Oracle } from './oracle.js';
import type { Frame } from '../frame-watch.js';

export interface Woken {
  readonly host: string;
  /** Frames of its guests that came from it while it was well. */
  readonly before: number;
  /** Those that came since it stood still. */
  readonly after: readonly Frame[];
  /** Whether it was admitted again as another life of its agent. */
  readonly anotherLife: boolean;
  readonly vms: readonly string[];
}

/** I3 at a real host that wakes after the cluster went on: nothing of its guests' old lives is heard, and it comes back empty. */
export class WokenHost extends Oracle {
  constructor(freezes: number) {
    super('woken-host', 'of a host that stood still and wakes nothing is heard outside, and it comes back as an empty one', 3 * Math.max(1, freezes));
  }

  woke({ host, before, after, anotherLife, vms }: Woken): void {
    this.check(before > 0, () => `${host}: nothing of its guests was heard before it stood still: this listener would hear nothing`);
    this.check(after.length === 0, () => `${host}: ${after.length} frames of its guests left after it stood still, first of ${after[0]?.mac ?? ''} at ${after[0]?.at_ms ?? 0}`);
    this.check(anotherLife && vms.length === 0, () => `${host}: ${anotherLife ? 'another life of its agent was admitted' : 'it is not admitted as another life'}, with ${vms.length === 0 ? 'no VM' : vms.join(', ')}`);
  }
}
