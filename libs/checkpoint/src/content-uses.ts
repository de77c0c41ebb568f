/**
 * What keeps content-addressed objects from being removed between the moment somebody finds one there and the moment something that is stored names it. One
 * process uses and removes: a use counts for a grace, so that who found a chunk has that long to store what names it; a removal waits for no use, and a use
 * that comes while its object is being removed waits and then does not find it. What an earlier process used is not known: everything counts as used when
 * this one began.
 */
export class ContentUses {
  readonly #last = new Map<string, number>();
  readonly #held = new Map<string, number>();
  readonly #removing = new Map<string, Promise<unknown>>();
  readonly #began: number;

  constructor(readonly grace_ms: number, readonly now_ms: () => number = () => performance.now()) {
    this.#began = now_ms();
  }

  /** Before looking whether the object is there, and before putting it. */
  async use(key: string): Promise<void> {
    for (;;) {
      const removal = this.#removing.get(key);
      if (removal === undefined) break;
      await removal.catch(() => undefined);
    }
    this.#last.set(key, this.now_ms());
  }

  /** Uses that last until it is released, and a grace from then. */
  hold(): ContentHold {
    const keys = new Set<string>();
    return {
      use: async (key) => {
        if (!keys.has(key)) this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
        keys.add(key);
        await this.use(key);
      },
      release: () => {
        for (const key of keys) {
          const others = (this.#held.get(key) ?? 1) - 1;
          if (others > 0) this.#held.set(key, others);
          else this.#held.delete(key);
          this.#last.set(key, this.now_ms());
        }
        keys.clear();
      },
    };
  }

  /**
   * Runs `remove` if nobody used the object since a grace before `looked_ms`, when the look began that found it to be garbage; says whether it did. A look
   * may take long: a use after its beginning always counts.
   */
  async removeUnused(key: string, looked_ms: number, remove: () => Promise<void>): Promise<boolean> {
    const idle_ms = looked_ms - (this.#last.get(key) ?? this.#began);
    if (this.#held.has(key) || this.#removing.has(key) || idle_ms < this.grace_ms) return false;
    this.#last.delete(key);
    const removal = remove();
    this.#removing.set(key, removal);
    try {
      await removal;
      return true;
    } finally {
      this.#removing.delete(key);
    }
  }

  /** Forgets uses that protect nothing any more from a look that begins at `looked_ms` or later. */
  prune(looked_ms: number): void {
    for (const [key, used_ms] of this.#last) if (looked_ms - used_ms >= this.grace_ms && looked_ms - this.#began >= this.grace_ms) this.#last.delete(key);
  }
}

export interface ContentHold {
  use(key: string): Promise<void>;
  release(): void;
}
