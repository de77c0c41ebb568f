import type { RemembranceCheck } from '../outside/remembrance.js';
import { Oracle } from './oracle.js';

/** What outside clients remember of the guests, asked for after each recovery. */
export class Remembered {
  /** I2: what the outside was told of goes on, and nothing else in its place. */
  readonly history: Oracle;
  readonly transactions: Oracle;

  constructor(kills: number) {
    const rounds = kills + 1;
    this.history = new Oracle('history-prefix', 'every guest\'s history begins with exactly the entries that the outside was told of', 20 * rounds);
    this.transactions = new Oracle('acked-transactions', 'every transaction acknowledged to an outside client is in the database after each recovery', 20 * rounds);
  }

  histories(found: readonly RemembranceCheck[], when: string): void { for (const each of found) Remembered.take(this.history, each, when); }
  database(found: RemembranceCheck, when: string): void { Remembered.take(this.transactions, found, when); }

  private static take(oracle: Oracle, { checked, broken, complaints }: RemembranceCheck, when: string): void {
    oracle.count(checked, broken, () => `${when}: ${complaints.join('; ')}${broken > complaints.length ? ` and ${broken - complaints.length} more` : ''}`);
  }
}
