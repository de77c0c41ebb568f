import { randomUUID } from 'node:crypto';
import type { Bus } from '@virtcft/bus';
import type { Heartbeat, Report } from '@virtcft/events';
import { disconnected, heard, limits as protocol, loopback, newDetector, suspicions, watch, watchedLives, watcherHost, type Detector, type Suspicion } from '@virtcft/protocol';
import { logger, metrics } from '@virtcft/telemetry';
import { limits } from './limits.js';
import type { RecoveryDriver } from './recovery-driver.js';

/**
 * Watches the heartbeats of every admitted host and tells which are over. Its own beats go over the bus as well and come back: only while
 * they do its clock runs (R21).
 */
export class Watcher {
  readonly #me = randomUUID();
  readonly #log = logger('failover');
  readonly #unlisten: () => void;
  /** When each life was last told of. */
  readonly #told_ms = new Map<string, number>();
  #detector: Detector = newDetector;
  #beat: NodeJS.Timeout;
  #due_ms: number;
  #lag_ms = 0;
  #sequence = 0;

  constructor(private readonly bus: Bus, private readonly drivers: () => Iterable<RecoveryDriver>, private readonly now: () => number) {
    this.#unlisten = bus.onConnection((connected) => {
      metrics.connected(connected ? 1 : 0, {});
      if (!connected) this.#detector = disconnected(this.#detector);
    });
    this.#due_ms = now() + protocol.watcher_beat_ms;
    this.#beat = setInterval(() => this.#tick(), protocol.watcher_beat_ms);
  }

  /** The admitted hosts of all clusters; called whenever a cluster's state changed. */
  watchAdmitted(): void {
    const lives = [...this.drivers()].flatMap((driver) => watchedLives(driver.state));
    this.#detector = watch(this.#detector, lives);
    const agents = new Set(lives.map(({ agent }) => agent));
    for (const agent of this.#told_ms.keys()) if (!agents.has(agent)) this.#told_ms.delete(agent);
  }

  onHeartbeat(heartbeat: Heartbeat): void {
    if (heartbeat.host !== watcherHost) {
      this.#detector = heard(this.#detector, heartbeat);
      return;
    }
    if (heartbeat.agent !== this.#me) return;
    this.#detector = loopback(this.#detector, this.now());
    for (const suspicion of suspicions(this.#detector, this.#lag_ms)) this.#tell(suspicion);
  }

  close(): void {
    clearInterval(this.#beat);
    this.#unlisten();
  }

  #tick(): void {
    const now_ms = this.now();
    // The worst of late, fading: a watcher that was late once is likely to be late again.
    this.#lag_ms = Math.max(now_ms - this.#due_ms, this.#lag_ms * 0.98);
    this.#due_ms = now_ms + protocol.watcher_beat_ms;
    this.bus.heartbeat({ host: watcherHost, agent: this.#me, sequence: this.#sequence++, cluster: null, generation: 0, colour: 0, lag_ms: Math.max(0, this.#lag_ms), peers: [], vms: [], held_output_bytes: 0 });
  }

  #tell({ host, agent, silent_ms, witnesses }: Suspicion): void {
    const told_ms = this.#told_ms.get(agent);
    if (told_ms !== undefined && this.now() - told_ms < limits.repeat_ms) return;
    this.#told_ms.set(agent, this.now());
    if (told_ms === undefined) {
      metrics.suspicions(1, { host });
      metrics.detectionDuration(silent_ms / 1_000, { host });
      this.#log.warn({ host, agent, silent_ms: Math.round(silent_ms), witnesses }, 'host suspected');
    }
    for (const driver of this.drivers()) {
      const known = driver.state.hosts[host];
      if (known?.agent !== agent || known.status !== 'admitted') continue;
      const report: Report = { type: 'host.suspected', data: { host, agent, generation: Math.max(1, driver.state.generation), silent_ms, witnesses: [...witnesses] } };
      this.bus.report(driver.cluster, 'failover', report).catch((error: unknown) => this.#log.error({ err: error, host }, 'a suspicion did not reach the bus'));
    }
  }
}
