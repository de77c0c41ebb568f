import { DeliverPolicy, jetstream, jetstreamManager, JetStreamApiCodes, JetStreamApiError, type ConsumerMessages, type JsMsg } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { logger, metrics } from '@virtcft/telemetry';
import type { ConnectionState } from './connection.js';
import { BusRefused, BusUnavailable } from './errors.js';
import { limits } from './limits.js';
import { backoff_ms, closed, forbidden, pause, transient } from './retry.js';

export interface Source {
  readonly stream: string;
  readonly filter: string;
  readonly start: number | Date | 'new' | 'last-per-subject';
  readonly signal: AbortSignal;
  readonly caughtUp?: (() => void) | undefined;
  /** The stream is another one than was read, or lost its end: throw, or return and read it from its beginning. */
  readonly lost: (what: string) => void;
}

interface Position { next: number; created: string | null; remaining: number | null }
interface Session { readonly messages: ConsumerMessages; readonly pending: number }

const log = logger('bus');

/**
 * Hands every message to the handler, in order, one after the other, each once, until the signal is aborted: a replay, then live with
 * no poll between (the server holds an open request of ours). After a lost connection it goes on behind the last message handled.
 */
export async function follow(connection: NatsConnection, state: ConnectionState, source: Source, handle: (message: JsMsg) => Promise<void> | void): Promise<void> {
  const at: Position = { next: typeof source.start === 'number' ? source.start : 0, created: null, remaining: null };
  let attempt = 0;
  let missingSince_ms: number | null = null;
  while (!source.signal.aborted && !connection.isClosed()) {
    await state.reachable(source.signal);
    const session = await open(connection, source, at).catch((error: unknown) => retryable(error, connection, source, attempt));
    if (session === null || session === 'missing') {
      // A server that begins anew may not have read its streams yet; one that answers so for a while has lost them.
      missingSince_ms = session === null ? null : missingSince_ms ?? performance.now();
      if (missingSince_ms !== null && at.created !== null && performance.now() - missingSince_ms > limits.stream_gone_ms) source.lost(`stream ${source.stream}, of which ${at.next - 1} was read, is not there any more`);
      await pause(backoff_ms(attempt++), source.signal);
      continue;
    }
    attempt = 0;
    missingSince_ms = null;
    await drain(session, state, source, at, handle);
  }
}

async function drain({ messages, pending }: Session, state: ConnectionState, source: Source, at: Position, handle: (message: JsMsg) => Promise<void> | void): Promise<void> {
  // Aborted while it was opened: messages that nobody iterates never end their close.
  if (source.signal.aborted) return messages.stop();
  const stop = (): void => messages.stop();
  // The server forgets a follower whose connection broke, and the client would notice only by missed heartbeats: begin a new one at once.
  const unlisten = state.listen((connected) => { if (connected) stop(); });
  source.signal.addEventListener('abort', stop);
  try {
    at.remaining ??= pending;
    if (at.remaining === 0) reached(source, at);
    for await (const message of messages) {
      if (source.signal.aborted) return;
      await handle(message);
      at.next = message.seq + 1;
      metrics.followerLag(message.info.pending, { stream: source.stream });
      if (at.remaining !== null && at.remaining > 0 && --at.remaining === 0) reached(source, at);
    }
  } catch (error) {
    if (!transient(error) && !closed(error)) throw error;
    log.warn({ err: error, stream: source.stream }, 'following was interrupted');
  } finally {
    unlisten();
    source.signal.removeEventListener('abort', stop);
    await messages.close();
  }
}

function reached(source: Source, at: Position): void {
  at.remaining = -1;
  source.caughtUp?.();
}

async function open(connection: NatsConnection, source: Source, at: Position): Promise<Session> {
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: limits.api_ms });
  const info = await manager.streams.info(source.stream);
  if (at.created !== null && at.created !== info.created) restart(source, at, `stream ${source.stream} is not the one that was read: it was made at ${info.created}, not ${at.created}`);
  else if (at.created !== null && info.state.last_seq < at.next - 1) restart(source, at, `stream ${source.stream} ends at ${info.state.last_seq}; ${at.next - 1} was read`);
  at.created = info.created;
  if (source.start === 'new' && at.next === 0) at.next = info.state.last_seq + 1;
  const deliver = at.next > 0 ? { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: at.next }
    : source.start instanceof Date ? { deliver_policy: DeliverPolicy.StartTime, opt_start_time: source.start.toISOString() }
    : { deliver_policy: source.start === 'last-per-subject' ? DeliverPolicy.LastPerSubject : DeliverPolicy.All };
  const consumer = await jetstream(connection, { timeout: limits.api_ms }).consumers.get(source.stream, {
    filter_subjects: source.filter, inactive_threshold: limits.follower_forgotten_ms, ...deliver,
  });
  const { num_pending } = await consumer.info(true);
  const messages = await consumer.consume({ max_messages: limits.batch, expires: limits.pull_ms, idle_heartbeat: limits.pull_heartbeat_ms });
  return { messages, pending: num_pending };
}

function restart(source: Source, at: Position, what: string): void {
  source.lost(what);
  log.warn({ what }, 'reading the stream from its beginning');
  at.next = source.start === 'last-per-subject' ? 0 : 1;
}

function retryable(error: unknown, connection: NatsConnection, source: Source, attempt: number): null | 'missing' {
  if (closed(error) || connection.isClosed()) return null;
  const refused = forbidden(error);
  if (refused) throw new BusRefused(`this user may not follow stream ${source.stream} (${refused.operation} on ${refused.subject})`, 'give the user the rights of its service (libs/bus: permissions)', { cause: error });
  const missing = error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound;
  if (!missing && !transient(error)) throw error;
  // Once for each outage, and again when it lasts; the reason matters, the number of tries does not.
  if (attempt % 60 === 1) log.warn({ err: error, stream: source.stream }, 'the stream cannot be followed yet');
  return missing ? 'missing' : null;
}

/** For reads that end: an interrupted connection is an error for them, not a wait. */
export const unreachable = (what: string, error?: unknown): BusUnavailable => new BusUnavailable(`${what}: the bus did not answer`, 'see that nats-server runs, then try again', { cause: error });
