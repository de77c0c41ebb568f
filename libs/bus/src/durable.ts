import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager, JetStreamApiCodes, JetStreamApiError, type ConsumerMessages, type JsMsg } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { logger, metrics } from '@virtcft/telemetry';
import { BusRefused } from './errors.js';
import { limits } from './limits.js';
import { backoff_ms, closed, forbidden, pause, transient } from './retry.js';
import { settle, type Outcome } from './settlement.js';

export interface DurableSource { readonly stream: string; readonly filter: string; readonly durable: string; readonly signal: AbortSignal }

const log = logger('bus');

/**
 * At least once: the server remembers what this consumer has acknowledged, over restarts of its reader. Any number of readers share it;
 * order is kept only while nothing fails. The handler says what became of each event, and settlement decides.
 */
export async function consume(connection: NatsConnection, source: DurableSource, handle: (message: JsMsg) => Promise<Outcome>): Promise<void> {
  let attempt = 0;
  while (!source.signal.aborted && !connection.isClosed()) {
    const messages = await open(connection, source).catch((error: unknown) => retryable(error, source));
    if (messages === null) {
      await pause(backoff_ms(attempt++), source.signal);
      continue;
    }
    attempt = 0;
    const stop = (): void => messages.stop();
    source.signal.addEventListener('abort', stop);
    try {
      if (!source.signal.aborted) for await (const message of messages) await one(message, source, handle);
    } catch (error) {
      if (!transient(error) && !closed(error)) throw error;
      log.warn({ err: error, durable: source.durable }, 'consuming was interrupted');
    } finally {
      source.signal.removeEventListener('abort', stop);
      await messages.close();
    }
  }
}

async function one(message: JsMsg, source: DurableSource, handle: (message: JsMsg) => Promise<Outcome>): Promise<void> {
  if (source.signal.aborted) return;
  const outcome = await handle(message).catch((error: unknown): Outcome => {
    log.error({ err: error, durable: source.durable, sequence: message.seq }, 'an event was not handled');
    return 'failed';
  });
  const settlement = settle(outcome, message.info.deliveryCount);
  if (settlement.kind === 'ack') message.ack();
  else if (settlement.kind === 'nak') message.nak(settlement.delay_ms);
  else {
    metrics.eventsSkipped(1, { stream: source.stream });
    log.error({ durable: source.durable, sequence: message.seq, reason: settlement.reason }, 'an event was given up');
    message.term(settlement.reason);
  }
}

async function open(connection: NatsConnection, { stream, filter, durable }: DurableSource): Promise<ConsumerMessages> {
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: limits.api_ms });
  await manager.consumers.add(stream, {
    durable_name: durable, filter_subject: filter, ack_policy: AckPolicy.Explicit, deliver_policy: DeliverPolicy.All,
    ack_wait: limits.ack_wait_ms * 1_000_000, max_ack_pending: limits.batch, max_deliver: -1,
  });
  const consumer = await jetstream(connection, { timeout: limits.api_ms }).consumers.get(stream, durable);
  return consumer.consume({ max_messages: limits.durable_batch, expires: limits.pull_ms, idle_heartbeat: limits.pull_heartbeat_ms });
}

function retryable(error: unknown, { stream, durable }: DurableSource): null {
  if (closed(error)) return null;
  const refused = forbidden(error);
  if (refused) throw new BusRefused(`this user may not consume stream ${stream} as ${durable}`, 'give the user the rights of its service (libs/bus: permissions)', { cause: error });
  if (!(error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound) && !transient(error)) throw error;
  return null;
}
