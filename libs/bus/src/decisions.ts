import { randomUUID } from 'node:crypto';
import { JetStreamApiCodes, JetStreamApiError, type JsMsg } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { decodeDecision, encodeDecision, InvalidEvent, streams, subjects, type Decision } from '@virtcft/events';
import type { TraceContext } from '@virtcft/telemetry';
import type { ConnectionState } from './connection.js';
import { consume } from './durable.js';
import { AppendAmbiguous, AppendConflict, LogMismatch } from './errors.js';
import type { ConsumeOptions, FollowDecisions, Handler, LogTip, StoredDecision } from './event-store.js';
import { follow, unreachable } from './follow.js';
import { limits } from './limits.js';
import { LogChain } from './log-chain.js';
import { publish, Unanswered } from './publish.js';

const repair = 'stop the coordinators, keep the store as it is and rebuild the log from the object store (virtcft rebuild)';

/** The decision logs of all clusters, in one stream. */
export class DecisionLog {
  constructor(private readonly connection: NatsConnection, private readonly state: ConnectionState, private readonly source: string) {}

  async append(cluster: string, decision: Decision, at: LogTip, trace: TraceContext = {}): Promise<StoredDecision> {
    const attributes = { id: randomUUID(), source: this.source, time: new Date(), trace };
    const envelope = encodeDecision(cluster, decision, at.previous, attributes);
    try {
      const { ack } = await publish(this.connection, subjects.decision(cluster), envelope, limits.append_ms, { lastSubjectSequence: at.expected, streamName: streams.decisions.name });
      return { cluster, sequence: ack.seq, id: attributes.id, time: attributes.time, hash: envelope.hash, previous: at.previous, decision: envelope.decision, trace };
    } catch (error) {
      throw appendError(error, cluster, decision, at.expected);
    }
  }

  /** The whole log as it is now, its chain verified. */
  async read(cluster: string): Promise<StoredDecision[]> {
    const decisions: StoredDecision[] = [];
    const done = new AbortController();
    // A read has an end also when the bus is away, and whoever reads decides what to do then.
    const timer = setTimeout(() => done.abort(), limits.read_ms);
    let complete = false;
    try {
      await this.follow({ cluster, signal: done.signal, caughtUp: () => { complete = true; done.abort(); } }, (stored) => void decisions.push(stored));
    } finally {
      clearTimeout(timer);
    }
    if (!complete) throw unreachable(`reading the decisions of ${cluster}`);
    return decisions;
  }

  follow(options: FollowDecisions, handler: Handler<StoredDecision>): Promise<void> {
    const start = options.from instanceof Date ? options.from : Math.max(options.from ?? 1, 1);
    const chain = new LogChain(start === 1);
    return follow(this.connection, this.state, {
      stream: streams.decisions.name, filter: options.cluster === undefined ? subjects.anyDecision : subjects.decision(options.cluster),
      start, signal: options.signal, caughtUp: options.caughtUp,
      lost: (what) => { throw new LogMismatch(what, repair); },
    }, (message) => {
      const stored = storedDecision(message);
      chain.accept(stored);
      return handler(stored);
    });
  }

  consume({ durable, cluster, signal }: ConsumeOptions, handler: Handler<StoredDecision>): Promise<void> {
    const filter = cluster === undefined ? subjects.anyDecision : subjects.decision(cluster);
    return consume(this.connection, { stream: streams.decisions.name, filter, durable, signal }, async (message) => {
      await handler(storedDecision(message));
      return 'handled';
    });
  }
}

function appendError(error: unknown, cluster: string, decision: Decision, expected: number): unknown {
  if (error instanceof Unanswered) {
    return new AppendAmbiguous(`it is not known whether ${decision.type} was appended to the log of ${cluster}: the bus did not answer`, 'read the log again before deciding anything', { cause: error });
  }
  const wrongSequence = error instanceof JetStreamApiError && (error.code === JetStreamApiCodes.StreamWrongLastSequence || error.code === JetStreamApiCodes.StreamWrongLastSequenceUnknown);
  if (!wrongSequence) return error;
  // After a try that got no answer, the decision that is in the way may be this very one.
  if ((error as { tries?: number }).tries !== 1) {
    return new AppendAmbiguous(`another decision than the expected one is at the end of the log of ${cluster}; it may be this ${decision.type}, whose first try got no answer`, 'read the log again before deciding anything', { cause: error });
  }
  return new AppendConflict(`the log of ${cluster} does not end at ${expected} any more: another decider was first`, 'read the log again and decide anew', { cause: error });
}

export function storedDecision(message: Pick<JsMsg, 'subject' | 'seq' | 'headers' | 'data'>): StoredDecision {
  const cluster = message.subject.split('.')[3] ?? '';
  try {
    const { id, time, hash, previous, decision, trace } = decodeDecision((name) => message.headers?.get(name) ?? '', message.data);
    return { cluster, sequence: message.seq, id, time, hash, previous, decision, trace };
  } catch (error) {
    if (!(error instanceof InvalidEvent)) throw error;
    throw new LogMismatch(`entry ${message.seq} of the log of ${cluster} cannot be read: ${error.message}`, `${repair}; if it was written by a newer version, upgrade`, { cause: error });
  }
}
