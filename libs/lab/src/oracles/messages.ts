import type { VectorStatus } from '../guest-control.js';
import { Oracle } from './oracle.js';

/** I1 as the guests' message vectors show it: no orphan, and on a connection no message twice, lost or out of order. */
export class Messages {
  readonly oracle: Oracle;
  constructor(kills: number) {
    this.oracle = new Oracle('messages', 'consistent cut: nobody has received what its sender, rolled back, never sent; no connection repeats or loses a message', 200 * (kills + 1));
  }

  /** Two readings of all guests some time apart, while they send: what they compared between is what was checked. */
  reading(before: readonly VectorStatus[], after: readonly VectorStatus[], when: string): void {
    for (const guest of after) {
      const earlier = before.find(({ address }) => address === guest.address);
      this.oracle.count(Math.max(0, guest.checked - (earlier?.checked ?? 0)), guest.errors, () => `${when}: ${guest.address} found ${guest.errors} errors (${guest.orphans} orphans), first: ${guest.error}`);
      for (const link of guest.links) {
        const was = earlier?.links.find(({ peer }) => peer === link.peer)?.received ?? 0;
        this.oracle.check(link.up && guest.reconnects === 0, () => `${when}: ${guest.address}: the connection to ${link.peer} is ${link.up ? 'up' : 'down'}, connections made again: ${guest.reconnects}`);
        this.oracle.check(link.received > was, () => `${when}: no message came from ${link.peer} to ${guest.address} (${was}, and ${link.received} later)`);
      }
    }
  }
}
