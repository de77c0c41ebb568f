import type { Decision } from '@virtcft/events';
import type { TraceContext } from '@virtcft/telemetry';
import { AppendAmbiguous, AppendConflict, LogMismatch } from './errors.js';
import type { EventStore, LogTip, StoredDecision } from './event-store.js';

/**
 * A decider's view of one cluster's log: a fold that takes what is followed and what it appended itself, each decision once, in order.
 * Any number of deciders may hold one; the expected sequence lets one append win (R13).
 */
export class ClusterLog<State> {
  #state: State;
  #tip: LogTip = { expected: 0, previous: null };

  constructor(
    private readonly store: EventStore, readonly cluster: string, initial: State,
    private readonly evolve: (state: State, decision: Decision) => State,
    /** After each decision, once, with the state after and before it. */
    private readonly onDecision: (stored: StoredDecision, state: State, before: State) => void,
  ) {
    this.#state = initial;
  }

  get state(): State { return this.#state; }

  /** Where the log ends, as far as it was read. */
  get tip(): LogTip { return this.#tip; }

  /** A followed decision; one that was taken already is skipped. Throws LogMismatch when it does not follow on the last one. */
  take(stored: StoredDecision): void {
    if (stored.sequence <= this.#tip.expected) return;
    if (stored.previous !== this.#tip.previous) {
      throw new LogMismatch(`decision ${stored.sequence} of ${this.cluster} does not follow on ${this.#tip.expected}`, 'stop the coordinators, keep the store as it is and rebuild the log from the object store (virtcft rebuild)');
    }
    const before = this.#state;
    this.#state = this.evolve(before, stored.decision);
    this.#tip = { expected: stored.sequence, previous: stored.hash };
    this.onDecision(stored, this.#state, before);
  }

  /**
   * Appends behind `at`, the end of the log that the decision was made on: give it when anything was awaited since. Null: another decision was first, or it is unclear whether this one is in the log; what is there was
   * read meanwhile, so decide anew. While the bus is away it waits: nothing can be decided then.
   */
  async append(decision: Decision, trace?: TraceContext, at: LogTip = this.#tip): Promise<StoredDecision | null> {
    if (at.expected !== this.#tip.expected) return null;
    try {
      const stored = await this.store.append(this.cluster, decision, at, trace);
      this.take(stored);
      return stored;
    } catch (error) {
      if (!(error instanceof AppendConflict) && !(error instanceof AppendAmbiguous)) throw error;
      await this.catchUp();
      return null;
    }
  }

  /** Reads what was appended since. An append of ours that is still under way cannot land behind a later one: it expects the old end. */
  async catchUp(): Promise<void> {
    const done = new AbortController();
    await this.store.followDecisions({ cluster: this.cluster, from: this.#tip.expected + 1, signal: done.signal, caughtUp: () => done.abort() }, (stored) => this.take(stored));
  }
}
