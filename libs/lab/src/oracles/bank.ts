import type { AuditResult } from '../bank-audit.js';
import type { BankStatus } from '../guest-control.js';
import { Oracle } from './oracle.js';

/** Money that moves between all guests over lasting TCP connections: what it says about cuts (I1), about connections and about the total. */
export class BankOracles {
  readonly consistent: Oracle;
  readonly total: Oracle;
  readonly lives: Oracle;

  constructor(kills: number) {
    this.consistent = new Oracle('I1', 'consistent cut: no move between guests is lost, doubled or reordered', 6 * (kills + 1));
    this.total = new Oracle('bank-total', 'the money of all guests together stays the same', kills + 1);
    this.lives = new Oracle('tcp-lives', 'connections inside the cluster are never made again, and go on moving money', 12 * (kills + 1));
  }

  /** Two readings of all banks some time apart, while they work. */
  reading(before: readonly BankStatus[], after: readonly BankStatus[], when: string): void {
    for (const bank of after) {
      const earlier = before.find(({ address }) => address === bank.address);
      for (const link of bank.links) {
        const was = earlier?.links.find(({ peer }) => peer === link.peer)?.received ?? 0;
        this.consistent.check(bank.errors === 0, () => `${when}: bank ${bank.address} found ${bank.errors} errors, first: ${bank.error}`);
        this.lives.check(link.up && bank.reconnects === 0, () => `${when}: bank ${bank.address}: the link to ${link.peer} is ${link.up ? 'up' : 'down'}, links made again: ${bank.reconnects}`);
        this.lives.check(link.received > was, () => `${when}: nothing came from ${link.peer} to ${bank.address} (${was} moves, and ${link.received} later)`);
      }
    }
  }

  /** What all banks said while nobody sent: everything on the way has arrived, or is lost. */
  audit(result: AuditResult, when: string): void {
    this.consistent.check(result.settled && result.errors === 0, () => `${when}: ${result.complaints.join('; ')}`);
    this.total.check(result.settled && result.total === result.expected, () => `${when}: all guests together hold ${result.total} instead of ${result.expected}${result.settled ? '' : ', and sums do not settle'}`);
  }

  /** A guest that cannot be asked is not a guest that is well. */
  silent(reason: string, when: string): void {
    this.lives.violate(`${when}: ${reason}`);
  }

  get oracles(): readonly Oracle[] { return [this.consistent, this.total, this.lives]; }
}
