import { LogMismatch } from './errors.js';
import type { StoredDecision } from './event-store.js';

/** Follows the hash chain of each cluster's log: every entry must name the hash of the one before it. */
export class LogChain {
  readonly #tips = new Map<string, { sequence: number; hash: string }>();

  /** `whole`: reading began at the beginning, so each log's first entry must have nothing before it. */
  constructor(private readonly whole: boolean) {}

  /** Throws LogMismatch. */
  accept({ cluster, sequence, hash, previous }: Pick<StoredDecision, 'cluster' | 'sequence' | 'hash' | 'previous'>): void {
    const tip = this.#tips.get(cluster);
    if (tip ? previous !== tip.hash : this.whole && previous !== null) {
      throw new LogMismatch(`the log of ${cluster} is broken at ${sequence}: the entry follows ${previous ?? 'nothing'}, but ${tip ? `entry ${tip.sequence} has ${tip.hash}` : 'nothing is before it'}`,
        'stop the coordinators, keep the store as it is and rebuild the log from the object store (virtcft rebuild)');
    }
    this.#tips.set(cluster, { sequence, hash });
  }
}
