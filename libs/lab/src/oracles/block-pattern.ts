import type { BlocksStatus } from '../guest-control.js';
import { Oracle } from './oracle.js';

/** A guest's raw disk: each block says what it must hold, and the guest's memory says it apart from the disk. */
export class BlockPattern {
  readonly oracle: Oracle;
  constructor(kills: number) {
    this.oracle = new Oracle('block-pattern', 'every block of the guest\'s disk holds what was last written to it, whole', 200 * (kills + 1));
  }

  /** `before`: the same guest's reading some time earlier; blocks verified since are the checks. */
  reading(before: BlocksStatus, after: BlocksStatus, when: string): void {
    this.oracle.count(Math.max(0, after.verified - before.verified), after.errors, () => `${when}: ${after.torn} torn and ${after.old} old blocks, first: ${after.error}`);
    if (after.verified <= before.verified || after.written <= before.written) {
      this.oracle.violate(`${when}: the disk stands still (${before.written} blocks written and ${before.verified} verified, then ${after.written} and ${after.verified})`);
    }
  }
}
