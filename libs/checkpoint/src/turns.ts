/**
 * Readers keep what they read in place: a change waits until no reader is left. A reader never waits for a change that has not begun, so
 * that several readers of one state can be opened one after the other while changes queue.
 */
export class Turns {
  #readers = 0;
  #changing: Promise<void> | null = null;
  #last: Promise<void> = Promise.resolve();
  #idle: (() => void)[] = [];
  #waiting = 0;

  /** Changes that wait or run. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Resolves to the function that ends this reader's turn. */
  async read(): Promise<() => void> {
    while (this.#changing !== null) await this.#changing;
    this.#readers++;
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      if (--this.#readers === 0) for (const wake of this.#idle.splice(0)) wake();
    };
  }

  /** Runs `change` alone, after all changes asked for before. */
  async change<T>(change: () => Promise<T>): Promise<T> {
    this.#waiting++;
    const turn = this.#last.then(async () => {
      while (this.#readers > 0) await new Promise<void>((wake) => this.#idle.push(wake));
      const running = change();
      // The next one's turn comes whether this one succeeded or not; its caller gets the error.
      this.#changing = running.then(() => undefined, () => undefined);
      try {
        return await running;
      } finally {
        this.#changing = null;
        this.#waiting--;
      }
    });
    this.#last = turn.then(() => undefined, () => undefined);
    return turn;
  }
}
