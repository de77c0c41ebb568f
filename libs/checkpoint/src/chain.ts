/** What is known of a segment without its bytes. */
export interface SegmentFact {
  readonly vm: string;
  readonly hash: string;
  readonly parent: string | null;
  readonly kind: 'full' | 'delta';
}

/**
 * The segments that lead one VM from what is folded to what is wanted. It grows backwards from the wanted one, along parents, until a full
 * segment, the folded one or a base is reached.
 */
export class Chain<T extends SegmentFact> {
  readonly #newestFirst: T[] = [];
  #missing: string | null;

  constructor(readonly vm: string, readonly wanted: string, readonly folded: string | null) {
    this.#missing = wanted === folded ? null : wanted;
  }

  /** Takes what `find` knows; true when the chain is complete. Throws RangeError for a segment of another VM. */
  extend(find: (hash: string) => T | undefined): boolean {
    while (this.#missing !== null) {
      const fact = find(this.#missing);
      if (fact === undefined) return false;
      if (fact.vm !== this.vm) throw new RangeError(`segment ${fact.hash} is of "${fact.vm}", not of "${this.vm}"`);
      this.#newestFirst.push(fact);
      this.#missing = fact.kind === 'full' || fact.parent === this.folded ? null : fact.parent;
    }
    return true;
  }

  /** Something stands for the segment that is needed next and all before it. */
  begin(): void {
    this.#missing = null;
  }

  /** Hash of the segment that is needed next; null when complete. */
  get missing(): string | null {
    return this.#missing;
  }

  /** Oldest first. */
  get steps(): readonly T[] {
    return this.#newestFirst.toReversed();
  }
}
