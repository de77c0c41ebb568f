import { randomUUID } from 'node:crypto';
import type { JsMsg } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { decodeReport, encodeReport, InvalidEvent, streams, subjects, type Report } from '@virtcft/events';
import { logger, metrics, type TraceContext } from '@virtcft/telemetry';
import type { ConnectionState } from './connection.js';
import { consume } from './durable.js';
import { BusUnavailable } from './errors.js';
import type { ConsumeOptions, FollowReports, Handler, StoredReport } from './event-store.js';
import { follow } from './follow.js';
import { limits } from './limits.js';
import { publish, Unanswered } from './publish.js';

const log = logger('bus');

/** What agents and watchers tell. A report that cannot be read is counted and skipped: one host must not stop a cluster. */
export class Reports {
  constructor(private readonly connection: NatsConnection, private readonly state: ConnectionState) {}

  async send(cluster: string, source: string, report: Report, trace: TraceContext = {}): Promise<void> {
    const envelope = encodeReport(cluster, report, { id: randomUUID(), source, time: new Date(), trace });
    try {
      await publish(this.connection, subjects.report(cluster, source, report.type), envelope, limits.report_ms, { streamName: streams.reports.name });
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      throw new BusUnavailable(`${report.type} of ${source} was not stored within ${limits.report_ms} ms`, 'send it again when the bus is back', { cause: error });
    }
  }

  follow(options: FollowReports, handler: Handler<StoredReport>): Promise<void> {
    return follow(this.connection, this.state, {
      stream: streams.reports.name, filter: options.cluster === undefined ? subjects.anyReport : subjects.reportsOf(options.cluster),
      start: options.from === 'all' ? 1 : typeof options.from === 'number' ? Math.max(options.from, 1) : options.from, signal: options.signal, caughtUp: options.caughtUp,
      lost: () => {},
    }, (message) => {
      const stored = storedReport(message);
      if (stored !== null) return handler(stored);
      metrics.eventsSkipped(1, { stream: streams.reports.name });
    });
  }

  consume({ durable, cluster, signal }: ConsumeOptions, handler: Handler<StoredReport>): Promise<void> {
    const filter = cluster === undefined ? subjects.anyReport : subjects.reportsOf(cluster);
    return consume(this.connection, { stream: streams.reports.name, filter, durable, signal }, async (message) => {
      const stored = storedReport(message);
      if (stored === null) return 'undecodable';
      await handler(stored);
      return 'handled';
    });
  }
}

/** Null when it cannot be read, or is on a subject of another source or type than it says. */
export function storedReport(message: Pick<JsMsg, 'subject' | 'seq' | 'headers' | 'data'>): StoredReport | null {
  try {
    const { id, source, time, report, trace } = decodeReport((name) => message.headers?.get(name) ?? '', message.data);
    const cluster = message.subject.split('.')[3] ?? '';
    // Permissions hold on the subject: what the event says of itself must agree with it.
    if (subjects.report(cluster, source, report.type) !== message.subject) throw new InvalidEvent(`${report.type} of ${source} was sent on ${message.subject}`);
    return { cluster, sequence: message.seq, source, id, time, report, trace };
  } catch (error) {
    if (!(error instanceof InvalidEvent)) throw error;
    log.warn({ subject: message.subject, sequence: message.seq, reason: error.message }, 'a report was skipped');
    return null;
  }
}
