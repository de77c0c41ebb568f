import type { Bus, StoredDecision, StoredReport } from '@virtcft/bus';
import { evolve, initialState, type ClusterState } from '@virtcft/protocol';
import type { Fact } from './facts.js';

/** A wait that ended without what was waited for. */
export class NotSeen extends Error {
  override readonly name = 'NotSeen';
}

/** Everything that a cluster's log and reports say, as it is said. A reader only. */
export class ClusterWatch {
  readonly facts: Fact[] = [];
  #state: ClusterState = initialState;
  #broken: Error | null = null;
  readonly #listeners = new Set<(fact: Fact) => void>();
  readonly #stopping = new AbortController();

  private constructor() {}

  /** Follows the one cluster of this bus from its first decision on. */
  static async follow(bus: Bus): Promise<ClusterWatch> {
    const watch = new ClusterWatch();
    const { signal } = watch.#stopping;
    const follow = (begin: (caughtUp: () => void) => Promise<void>): Promise<void> => new Promise((resolve, reject) => {
      begin(resolve).catch((error: unknown) => {
        watch.#broken = error instanceof Error ? error : new Error(String(error));
        reject(watch.#broken);
      });
    });
    await Promise.all([
      follow((caughtUp) => bus.followDecisions({ signal, caughtUp }, (stored) => { watch.#decided(stored); })),
      follow((caughtUp) => bus.followReports({ from: 'all', signal, caughtUp }, (stored) => { watch.#reported(stored); })),
    ]);
    return watch;
  }

  get state(): ClusterState { return this.#state; }

  /** Every fact from now on; returns how to stop. */
  onFact(listener: (fact: Fact) => void): () => void {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  /** Resolves as soon as `holds` gives something, asked now and after every fact. Throws NotSeen. */
  async until<T>(what: string, timeout_ms: number, holds: () => T | null | undefined | false): Promise<T> {
    const now = holds();
    if (now !== null && now !== undefined && now !== false) return now;
    return new Promise<T>((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        stop();
      };
      const timer = setTimeout(() => {
        end();
        reject(new NotSeen(`${what}: not seen within ${timeout_ms / 1000} s (the cluster is ${this.#state.stage}${this.#state.halted === null ? '' : `: ${this.#state.halted.detail}`})`));
      }, timeout_ms);
      const stop = this.onFact(() => {
        const found = holds();
        if (this.#broken === null && (found === null || found === undefined || found === false)) return;
        end();
        if (this.#broken !== null) reject(this.#broken);
        else resolve(found as T);
      });
    });
  }

  stop(): void { this.#stopping.abort(); }

  #decided({ sequence, time, decision }: StoredDecision): void {
    this.#state = evolve(this.#state, decision);
    this.#take({ at_ms: time.getTime(), sequence, source: 'decision', fact: decision });
  }

  #reported({ sequence, time, source, report }: StoredReport): void {
    this.#take({ at_ms: time.getTime(), sequence, source, fact: report });
  }

  #take(fact: Fact): void {
    this.facts.push(fact);
    for (const listener of [...this.#listeners]) listener(fact);
  }
}
