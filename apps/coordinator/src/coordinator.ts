import type { StoredDecision, StoredReport } from '@virtcft/bus';
import type { Heartbeat, HostRegistered } from '@virtcft/events';
import { ClusterCoordinator, type ClusterContext } from './cluster/cluster-coordinator.js';
import { limits } from './limits.js';

/** All clusters of the bus: each has its own log and its own deciders; hosts offer themselves to all. */
export class Coordinator {
  readonly #clusters = new Map<string, ClusterCoordinator>();
  #active = false;
  /** Since when reports are wanted by the clusters that run. */
  #reportsSince: Date | null = null;

  constructor(readonly context: ClusterContext) {}

  /** While the log is replayed: state only. */
  onDecision(stored: StoredDecision): void {
    const { decision, time } = stored;
    this.cluster(stored.cluster).onDecision(stored);
    if (!this.#active && (decision.type === 'epoch.committed' || decision.type === 'cluster.started' || decision.type === 'generation.raised')) {
      const before = new Date(time.getTime() - limits.reports_before_ms);
      if (this.#reportsSince === null || before > this.#reportsSince) this.#reportsSince = before;
    }
  }

  onReport(stored: StoredReport): void {
    this.#clusters.get(stored.cluster)?.onReport(stored);
  }

  onRegistration(registration: HostRegistered): void {
    this.context.offers.registered(registration);
    this.#wakeAll();
  }

  onHeartbeat(heartbeat: Heartbeat): void {
    if (this.context.offers.heard(heartbeat)) this.#wakeAll();
  }

  get reportsSince(): Date | null { return this.#reportsSince; }

  /** The log was read up to now, and so were the reports. */
  activate(): void {
    this.#active = true;
    for (const cluster of this.#clusters.values()) cluster.activate();
  }

  /** The cluster with this id; made at its first decision. */
  cluster(id: string): ClusterCoordinator {
    const known = this.#clusters.get(id);
    if (known !== undefined) return known;
    const made = new ClusterCoordinator(id, this.context);
    this.#clusters.set(id, made);
    if (this.#active) made.activate();
    return made;
  }

  /** Forgets a cluster whose first decision could not be appended. */
  drop(id: string): void {
    this.#clusters.get(id)?.close();
    this.#clusters.delete(id);
  }

  /** By id or by name. */
  find(name: string): ClusterCoordinator | null {
    return this.#clusters.get(name) ?? this.all().find((cluster) => cluster.state.spec?.name === name) ?? null;
  }

  all(): ClusterCoordinator[] {
    return [...this.#clusters.values()].filter((cluster) => cluster.state.spec !== null);
  }

  close(): void {
    for (const cluster of this.#clusters.values()) cluster.close();
  }

  #wakeAll(): void {
    for (const cluster of this.#clusters.values()) cluster.wake();
  }
}
