import { Oracle } from './oracle.js';

/** What a look at all acknowledged writes found. */
export interface WritesFound { readonly checked: number; readonly lost: readonly string[] }

/** The outside's own memory: what was acknowledged to a client is there after each recovery. */
export class AckedWrites {
  readonly oracle: Oracle;
  constructor(kills: number) {
    this.oracle = new Oracle('acked-writes', 'every write acknowledged to the outside client is there after each recovery', 10 * (kills + 1));
  }

  found({ checked, lost }: WritesFound, when: string): void {
    this.oracle.count(checked, lost.length, () => `${when}: ${lost.slice(0, 5).join('; ')}${lost.length > 5 ? ` and ${lost.length - 5} more` : ''}`);
  }
}
