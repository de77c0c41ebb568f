import { Server, type CustomTransportStrategy, type MessageHandler } from '@nestjs/microservices';
import type { ReportType } from '@virtcft/events';
import { logger } from '@virtcft/telemetry';
import { isObservable, lastValueFrom } from 'rxjs';
import type { Bus } from '../bus.js';
import { ApiError } from '../errors.js';
import type { Subscription } from './patterns.js';

export interface JetStreamStrategyOptions {
  readonly bus: Bus;
  /** Omitted: all clusters. */
  readonly cluster?: string;
  /** Stream sequence where decisions begin; default the beginning. */
  readonly decisionsFrom?: number;
  /** Once, when the decisions that were there at the start have been handled. Only without `durable`. */
  readonly caughtUp?: () => void;
  /** Default `new`. */
  readonly reportsFrom?: 'new' | 'all' | number | Date;
  /** With a name, reports and decisions are consumed at least once and acknowledged under it; without, they are followed in order. */
  readonly durable?: string;
  /** A follow ended with an error, so this service is deaf: its shell should stop the process. Default: the error is thrown, which does that. */
  readonly onFailure?: (error: unknown) => void;
}

type Run = (data: unknown) => Promise<unknown>;
const log = logger('bus');

/** Nest's transport over the bus: `NestFactory.createMicroservice(Module, { strategy: new JetStreamStrategy({ bus }) })`. Closing it leaves the bus open. */
export class JetStreamStrategy extends Server implements CustomTransportStrategy {
  readonly #ending = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: JetStreamStrategyOptions) { super(); }

  /** Two handlers of one pattern would be a mistake that shows only under load: an error at the start. */
  override addHandler(pattern: unknown, callback: MessageHandler, isEventHandler = false, extras: Record<string, unknown> = {}): void {
    if (this.messageHandlers.has(this.normalizePattern(pattern as string))) throw new Error(`two handlers for "${String(pattern)}"; there may be one`);
    if (extras['subscription'] === undefined) throw new Error(`"${String(pattern)}" is not a subscription of the bus; use its decorators (OnDecision, OnReport, OnRequest, ...)`);
    super.addHandler(pattern, callback, isEventHandler, extras);
  }

  override listen(callback: (error?: unknown) => void): void {
    try {
      const subscriptions = [...this.messageHandlers.values()].map((handler) => ({ on: handler.extras?.['subscription'] as Subscription, run: runner(handler) }));
      this.#running = Promise.all(this.#start(subscriptions).map((follow) => follow.catch((error: unknown) => this.#fail(error))));
      callback();
    } catch (error) {
      callback(error);
    }
  }

  override async close(): Promise<void> {
    this.#ending.abort();
    await this.#running;
  }

  override on(): never { throw new Error('the bus has no events of its own; see Bus.onConnection'); }

  override unwrap<T>(): T { return this.options.bus as T; }

  #start(subscriptions: readonly { on: Subscription; run: Run }[]): Promise<unknown>[] {
    const { bus, decisionsFrom, caughtUp, reportsFrom, durable } = this.options;
    const signal = this.#ending.signal;
    const cluster = this.options.cluster === undefined ? {} : { cluster: this.options.cluster };
    const follows: Promise<unknown>[] = [];
    const reports: { types: readonly ReportType[]; run: Run }[] = [];
    for (const { on, run } of subscriptions) {
      const each = async (item: unknown): Promise<void> => void (await run(item));
      if (on.kind === 'decision') {
        follows.push(durable === undefined ? bus.followDecisions({ ...cluster, ...(decisionsFrom === undefined ? {} : { from: decisionsFrom }), ...(caughtUp === undefined ? {} : { caughtUp }), signal }, each)
          : bus.consumeDecisions({ ...cluster, durable: `${durable}-decisions`, signal }, each));
      } else if (on.kind === 'report') reports.push({ types: on.types, run });
      else if (on.kind === 'registration') follows.push(bus.followRegistrations(signal, each));
      else if (on.kind === 'heartbeat') follows.push(bus.watchHeartbeats(signal, (heartbeat) => void each(heartbeat).catch((error: unknown) => this.#fail(error))));
      else bus.serve(on.service, on.verb, (body) => run(parseBody(on, body)));
    }
    if (reports.length > 0) {
      // One follow for all report handlers, so that they see reports in one order.
      const each = async (stored: { report: { type: ReportType } }): Promise<void> => {
        for (const { types, run } of reports) if (types.length === 0 || types.includes(stored.report.type)) await run(stored);
      };
      follows.push(durable === undefined ? bus.followReports({ ...cluster, from: reportsFrom ?? 'new', signal }, each) : bus.consumeReports({ ...cluster, durable: `${durable}-reports`, signal }, each));
    }
    return follows;
  }

  #fail(error: unknown): void {
    if (this.#ending.signal.aborted) return;
    log.fatal({ err: error }, 'this service follows the bus no more');
    if (this.options.onFailure) this.options.onFailure(error);
    else setImmediate(() => { throw error; });
  }
}

const runner = (handler: MessageHandler): Run => async (data) => {
  const result: unknown = await handler(data);
  return isObservable(result) ? lastValueFrom(result, { defaultValue: undefined }) : result;
};

function parseBody(on: Extract<Subscription, { kind: 'request' }>, body: unknown): unknown {
  const parsed = on.schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `${issue.path.length === 0 ? 'the request' : issue.path.map(String).join('.')}: ${issue.message}`);
  throw new ApiError('bad-request', `${on.service} ${on.verb}: ${problems.join('; ')}`, 'correct the request and send it again');
}
