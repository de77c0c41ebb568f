import { setTimeout as sleep } from 'node:timers/promises';
import type { NatsConnection } from '@nats-io/transport-node';
import type { Decision, Heartbeat, HostRegistered, Report } from '@virtcft/events';
import type { TraceContext } from '@virtcft/telemetry';
import { Api, type ApiHandler } from './api.js';
import { ConnectionState, openConnection, type BusOptions } from './connection.js';
import { DecisionLog } from './decisions.js';
import type { ConsumeOptions, EventStore, FollowDecisions, FollowReports, Handler, LogTip, StoredDecision, StoredReport } from './event-store.js';
import { Hosts, type RegisteredHost } from './hosts.js';
import { takeLease, type Lease } from './lease.js';
import { limits } from './limits.js';
import { Reports } from './reports.js';
import { provision, untilProvisioned, type StreamOptions } from './streams.js';

/** The control plane: small facts only, over NATS JetStream. One per process. */
export class Bus implements EventStore {
  readonly #state: ConnectionState;
  readonly #decisions: DecisionLog;
  readonly #reports: Reports;
  readonly #hosts: Hosts;
  readonly #api: Api;
  readonly #closing = new AbortController();

  private constructor(private readonly connection: NatsConnection, options: BusOptions) {
    this.#state = new ConnectionState(connection);
    this.#decisions = new DecisionLog(connection, this.#state, options.name);
    this.#reports = new Reports(connection, this.#state);
    this.#hosts = new Hosts(connection, this.#state);
    this.#api = new Api(connection);
  }

  /** Throws BusUnavailable, BusRefused (credentials) or ServerTooOld. Once connected it reconnects for ever. */
  static async connect(options: BusOptions): Promise<Bus> {
    return new Bus(await openConnection(options), options);
  }

  get connected(): boolean { return this.#state.connected; }

  /** Every change; returns how to stop listening. */
  onConnection(listener: (connected: boolean) => void): () => void { return this.#state.listen(listener); }

  /** The coordinator's: makes the streams, or compares those that are there. Throws StreamMismatch. */
  provisionStreams(options: StreamOptions = {}): Promise<void> { return provision(this.connection, options); }

  /** Everybody else's: waits for them. Throws BusUnavailable. */
  awaitStreams(timeout_ms: number): Promise<void> { return untilProvisioned(this.connection, timeout_ms); }

  /** Throws AppendConflict (nothing was appended), AppendAmbiguous (re-read the log before anything else), BusRefused. */
  append(cluster: string, decision: Decision, at: LogTip, trace?: TraceContext): Promise<StoredDecision> {
    return this.#decisions.append(cluster, decision, at, trace);
  }

  /** The whole log now. Throws LogMismatch, BusUnavailable. */
  readDecisions(cluster: string): Promise<StoredDecision[]> { return this.#decisions.read(cluster); }

  /** Throws LogMismatch, BusRefused, or what the handler throws. */
  followDecisions(options: FollowDecisions, handler: Handler<StoredDecision>): Promise<void> {
    return this.#decisions.follow({ ...options, signal: this.#until(options.signal) }, handler);
  }

  /** Stored when it resolves; retried for up to 10 s with one id, then BusUnavailable. */
  report(cluster: string, source: string, report: Report, trace?: TraceContext): Promise<void> { return this.#reports.send(cluster, source, report, trace); }

  followReports(options: FollowReports, handler: Handler<StoredReport>): Promise<void> {
    return this.#reports.follow({ ...options, signal: this.#until(options.signal) }, handler);
  }

  /** At least once, remembered by the server under `durable`: for consumers that act on each report rather than fold them. */
  consumeReports(options: ConsumeOptions, handler: Handler<StoredReport>): Promise<void> {
    return this.#reports.consume({ ...options, signal: this.#until(options.signal) }, handler);
  }

  /** At least once, remembered by the server under `durable`. For effects; state is folded by followDecisions. */
  consumeDecisions(options: ConsumeOptions, handler: Handler<StoredDecision>): Promise<void> {
    return this.#decisions.consume({ ...options, signal: this.#until(options.signal) }, handler);
  }

  register(registration: HostRegistered): Promise<void> { return this.#hosts.register(registration); }

  /** The newest registration of every host, then live. */
  followRegistrations(signal: AbortSignal, handler: Handler<RegisteredHost>, caughtUp?: () => void): Promise<void> {
    return this.#hosts.followRegistrations(this.#until(signal), handler, caughtUp);
  }

  heartbeat(heartbeat: Heartbeat): void { this.#hosts.heartbeat(heartbeat); }

  watchHeartbeats(signal: AbortSignal, handler: (heartbeat: Heartbeat) => void, only?: string): Promise<void> {
    return this.#hosts.watchHeartbeats(this.#until(signal), handler, only);
  }

  serve(service: string, verb: string, handler: ApiHandler): void { this.#api.serve(service, verb, handler); }

  request<T>(service: string, verb: string, body: unknown, options?: { timeout_ms?: number }): Promise<T> { return this.#api.request<T>(service, verb, body, options); }

  /** Null when another holds it. */
  lease(bucket: string, key: string, ttl_ms: number): Promise<Lease | null> { return takeLease(this.connection, bucket, key, ttl_ms); }

  /** Ends every follow, sends what is under way where the server takes it within `limits.close_ms`, and closes. */
  async close(): Promise<void> {
    this.#closing.abort();
    if (this.connection.isClosed()) return;
    if (this.connected) {
      const late = new AbortController();
      // A drain that has lost its server rejects, or waits for a server that may never come back.
      await Promise.race([this.connection.drain().catch(() => undefined), sleep(limits.close_ms, undefined, { signal: late.signal }).catch(() => undefined)]);
      late.abort();
    }
    await this.connection.close();
  }

  #until(signal: AbortSignal): AbortSignal { return AbortSignal.any([signal, this.#closing.signal]); }
}
