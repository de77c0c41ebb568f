import type { Heartbeat } from '@virtcft/events';
import { limits } from '../limits.js';

export type HeartbeatContent = Omit<Heartbeat, 'host' | 'agent' | 'sequence' | 'lag_ms'>;

/** Sends a heartbeat at a fixed rate and says in it how late its own timer ran, so that a watcher can widen its patience. */
export class Heartbeats {
  private sequence = 0;
  private due_ms: number;
  private readonly timer: NodeJS.Timeout;

  constructor(from: { host: string; agent: string }, content: () => HeartbeatContent, send: (heartbeat: Heartbeat) => void) {
    this.due_ms = performance.now() + limits.heartbeat_ms;
    this.timer = setInterval(() => {
      const now_ms = performance.now();
      const lag_ms = Math.max(0, now_ms - this.due_ms);
      this.due_ms = now_ms + limits.heartbeat_ms;
      this.sequence += 1;
      send({ ...from, sequence: this.sequence, lag_ms: Math.round(lag_ms), ...content() });
    }, limits.heartbeat_ms);
  }

  stop(): void { clearInterval(this.timer); }
}
