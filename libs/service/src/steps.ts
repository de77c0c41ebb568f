/** What a step led to: something was done and there may be more, or nothing to do before a time. */
export type Outcome = 'again' | number;

/** Nothing to do before somebody wakes the loop. */
export const never = Number.POSITIVE_INFINITY;

export interface StepsOptions {
  /** Monotonic milliseconds, the clock of every `Outcome`. */
  readonly now: () => number;
  /** A step that failed is taken again after this. */
  readonly retry_ms: number;
  readonly onFailure: (error: unknown) => void;
  /** After each round, when nothing is left to do for now. */
  readonly onRest?: () => void;
}

/**
 * Takes one step after the other until there is nothing to do, then sleeps until the next is due or somebody wakes it. For deciders that
 * look at the whole state: a step that is taken once too often, or again after a failure, is harmless. Never two steps at once.
 */
export class Steps {
  #timer: NodeJS.Timeout | null = null;
  #stepping = false;
  #woken = false;
  #active = false;
  #closed = false;

  constructor(private readonly step: () => Promise<Outcome>, private readonly options: StepsOptions) {}

  get closed(): boolean { return this.#closed; }

  /** Before it no step is taken, however often it is woken. */
  activate(): void {
    this.#active = true;
    this.wake();
  }

  wake(): void {
    if (this.#stepping) this.#woken = true;
    else void this.#run();
  }

  /** The step under way ends; no other begins. */
  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  async #run(): Promise<void> {
    if (!this.#active || this.#closed) return;
    const { now, retry_ms, onFailure, onRest } = this.options;
    this.#stepping = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    let next_ms: number = never;
    try {
      do {
        this.#woken = false;
        next_ms = await this.#untilDone();
      } while (this.#woken && !this.#closed);
    } catch (error) {
      onFailure(error);
      next_ms = now() + retry_ms;
    }
    this.#stepping = false;
    onRest?.();
    if (this.#closed) return;
    if (this.#woken) setImmediate(() => this.wake());
    else if (next_ms !== never) this.#timer = setTimeout(() => this.wake(), Math.max(0, next_ms - now()));
  }

  async #untilDone(): Promise<number> {
    while (!this.#closed) {
      const outcome = await this.step();
      if (outcome !== 'again') return outcome;
    }
    return never;
  }
}
