import type { PatternStatus } from '../guest-control.js';
import { Oracle } from './oracle.js';

/** The guests' own memory: each page says what it must hold, kept apart from the page. */
export class MemoryPattern {
  readonly oracle: Oracle;
  constructor(kills: number) {
    this.oracle = new Oracle('memory-pattern', 'every page of the guests\' table holds what was last written to it', 1000 * (kills + 1));
  }

  /** `before`: the same guest's reading some time earlier; pages verified since are the checks. */
  reading(vm: string, before: PatternStatus, after: PatternStatus, when: string): void {
    this.oracle.count(Math.max(0, after.verified - before.verified), after.errors, () => `${when}: ${vm}: ${after.errors} wrong pages, first: ${after.error}`);
    if (after.verified <= before.verified) this.oracle.violate(`${when}: ${vm} verified nothing (${before.verified} pages, then ${after.verified})`);
  }

  silent(vm: string, reason: string, when: string): void { this.oracle.violate(`${when}: ${vm} gave no answer: ${reason}`); }
}
