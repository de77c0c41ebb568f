import type { Heartbeat } from '@virtcft/events';
import { limits } from '../limits.js';

export type HeartbeatContent = Omit<Heartbeat, 'host' | 'agent' | 'sequence' | 'lag_ms'>;

/** Sends a heartbeat at a fixed rate and says in it how late its own timer ran, so that a watcher can widen its patience. */
export class Heartbeats {
  private sequence = 0;
  private due_ms: number;
  private readonly timer: NodeJS.Timeout;
  /** When the last ones were sent; older echoes are of no use to the lease. */
  private readonly sent_ms = new Map<number, number>();

  constructor(from: { host: string; agent: string }, now: () => number, content: () => HeartbeatContent, send: (heartbeat: Heartbeat) => void) {
    this.due_ms = now() + limits.heartbeat_ms;
    this.timer = setInterval(() => {
      const now_ms = now();
      const lag_ms = Math.max(0, now_ms - this.due_ms);
      this.due_ms = now_ms + limits.heartbeat_ms;
      this.sequence += 1;
      this.sent_ms.set(this.sequence, now_ms);
      this.sent_ms.delete(this.sequence - Math.ceil(limits.lease_ms / limits.heartbeat_ms));
      send({ ...from, sequence: this.sequence, lag_ms: Math.round(lag_ms), ...content() });
    }, limits.heartbeat_ms);
  }

  /** When the heartbeat with this number was sent; null when that is too long ago. */
  sentAt(sequence: number): number | null { return this.sent_ms.get(sequence) ?? null; }

  stop(): void { clearInterval(this.timer); }
}
