import type { Fabric } from '@virtcft/fabric';
import { limits } from '../limits.js';

export interface Released { readonly epoch: number; readonly frames: number; readonly bytes: number; readonly oldest_ms: number }

/**
 * The output gate: the frames of an epoch leave when its commit is known (R8) and the lease holds (R10): a heartbeat sent a moment ago came
 * back over the bus. Without the lease what may leave waits for the next echo.
 */
export class OutputGate {
  private echo_ms = Number.NEGATIVE_INFINITY;
  private waiting: { epoch: number; released: (released: Released) => void } | null = null;

  constructor(private readonly fabric: Fabric, private readonly monotonic_ms: () => number) {}

  /** The lease counts from when the heartbeat was sent: an echo that lay unread while this process stood still is no lease. */
  heartbeatEchoed(sent_ms: number): void {
    this.echo_ms = Math.max(this.echo_ms, sent_ms);
    const { waiting } = this;
    if (waiting === null || !this.leased) return;
    this.waiting = null;
    void this.release(waiting.epoch, waiting.released);
  }

  get leased(): boolean { return this.monotonic_ms() - this.echo_ms <= limits.lease_ms; }

  async release(epoch: number, released: (released: Released) => void): Promise<void> {
    if (!this.leased) {
      this.waiting = { epoch: Math.max(epoch, this.waiting?.epoch ?? 0), released };
      return;
    }
    const { frames, bytes, oldest_us } = await this.fabric.releaseOutput(epoch);
    released({ epoch, frames, bytes, oldest_ms: oldest_us / 1000 });
  }

  /** A raise: what waited for the lease is settled by the wiring of the next generation. */
  forget(): void { this.waiting = null; }
}
