import type { Bus, StoredDecision, StoredReport } from '@virtcft/bus';
import type { Heartbeat } from '@virtcft/events';
import { recovering } from '@virtcft/protocol';
import { limits } from './limits.js';
import { RecoveryDriver } from './recovery-driver.js';
import { Watcher } from './watcher.js';

/** Tells dead hosts from silent ones and drives recoveries, for all clusters of the bus. Any number may run: one append wins. */
export class Failover {
  readonly #drivers = new Map<string, RecoveryDriver>();
  readonly #raised = new Map<string, Date>();
  #watcher: Watcher | null = null;

  constructor(private readonly bus: Bus, private readonly now: () => number) {}

  onDecision(stored: StoredDecision): void {
    const driver = this.#driver(stored.cluster);
    const first = driver.state.tip === null;
    driver.onDecision(stored);
    const { type } = stored.decision;
    if (type === 'generation.raised') this.#raised.set(stored.cluster, stored.time);
    // Epochs change no host, but that the first cut makes its hosts restorable; all else may.
    if (!type.startsWith('epoch.') || (first && driver.state.tip !== null)) this.#watcher?.watchAdmitted();
  }

  onReport(stored: StoredReport): void { this.#drivers.get(stored.cluster)?.onReport(stored); }

  onHeartbeat(heartbeat: Heartbeat): void { this.#watcher?.onHeartbeat(heartbeat); }

  /** From when the reports of recoveries under way are wanted. */
  get reportsSince(): Date {
    const since = [...this.#drivers.values()].filter(({ state }) => recovering(state)).map(({ cluster }) => this.#raised.get(cluster)?.getTime() ?? Date.now());
    return new Date(Math.min(Date.now(), ...since.map((time) => time - limits.reports_before_ms)) - limits.clock_skew_ms);
  }

  /** The log was read up to now. */
  activate(): void {
    this.#watcher = new Watcher(this.bus, () => this.#drivers.values(), this.now);
    this.#watcher.watchAdmitted();
    for (const driver of this.#drivers.values()) driver.activate();
  }

  close(): void {
    this.#watcher?.close();
    for (const driver of this.#drivers.values()) driver.close();
  }

  #driver(cluster: string): RecoveryDriver {
    const known = this.#drivers.get(cluster);
    if (known !== undefined) return known;
    const driver = new RecoveryDriver(cluster, this.bus, this.now);
    this.#drivers.set(cluster, driver);
    if (this.#watcher !== null) driver.activate();
    return driver;
  }
}
