import { headers, type MsgHdrs, type NatsConnection } from '@nats-io/transport-node';
import { jetstream, type PubAck, type StreamExpectations } from '@nats-io/jetstream';
import type { Envelope } from '@virtcft/events';
import { BusRefused } from './errors.js';
import { limits } from './limits.js';
import { backoff_ms, delay, forbidden, transient } from './retry.js';

export function messageHeaders(envelope: Envelope): MsgHdrs {
  const bag = headers();
  for (const [name, value] of Object.entries(envelope.headers)) bag.set(name, value);
  return bag;
}

export interface Published { readonly ack: PubAck; readonly tries: number }

/** No answer within the time: whether it was stored is not known. */
export class Unanswered extends Error { override readonly name = 'Unanswered'; }

/**
 * Publishes until it is acknowledged, always with the same message id, so that it is stored once. Throws BusRefused, Unanswered, or the
 * server's own refusal; `tries` tells the caller whether an earlier try may have been stored when that refusal came.
 */
export async function publish(connection: NatsConnection, subject: string, envelope: Envelope, within_ms: number, expect?: Partial<StreamExpectations>): Promise<Published> {
  const client = jetstream(connection, { timeout: limits.publish_ms });
  const end = performance.now() + within_ms;
  for (let tries = 1; ; tries++) {
    try {
      // Headers afresh each time: the client adds its own to them.
      const ack = await client.publish(subject, envelope.payload, { headers: messageHeaders(envelope), timeout: limits.publish_ms, ...(expect ? { expect } : {}) });
      return { ack, tries };
    } catch (error) {
      const refused = forbidden(error);
      if (refused) throw new BusRefused(`this user may not publish on ${subject}`, 'give the user the rights of its service (libs/bus: permissions)', { cause: error });
      if (!transient(error)) throw Object.assign(error as Error, { tries });
      if (performance.now() > end || connection.isClosed()) throw new Unanswered(`no answer to a publish on ${subject} in ${tries} tries`, { cause: error });
      await delay(backoff_ms(tries - 1));
    }
  }
}
