import { randomUUID } from 'node:crypto';
import type { NatsConnection } from '@nats-io/transport-node';
import { decodeRegistration, encodeRegistration, Heartbeat, InvalidEvent, streams, subjects, type HostRegistered } from '@virtcft/events';
import { logger, metrics } from '@virtcft/telemetry';
import type { ConnectionState } from './connection.js';
import { BusRefused, BusUnavailable } from './errors.js';
import type { Handler } from './event-store.js';
import { follow } from './follow.js';
import { limits } from './limits.js';
import { publish, Unanswered } from './publish.js';

export interface RegisteredHost { readonly sequence: number; readonly registration: HostRegistered }

const log = logger('bus');

/** Hosts that offer themselves (the newest per host is kept), and their heartbeats (never stored). */
export class Hosts {
  constructor(private readonly connection: NatsConnection, private readonly state: ConnectionState) {}

  async register(registration: HostRegistered): Promise<void> {
    const { host } = registration;
    const envelope = encodeRegistration(registration, { id: randomUUID(), source: host, time: new Date() });
    try {
      await publish(this.connection, subjects.registered(host), envelope, limits.report_ms, { streamName: streams.hosts.name });
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      throw new BusUnavailable(`host ${host} could not register within ${limits.report_ms} ms`, 'register again when the bus is back', { cause: error });
    }
  }

  followRegistrations(signal: AbortSignal, handler: Handler<RegisteredHost>, caughtUp?: () => void): Promise<void> {
    return follow(this.connection, this.state, { stream: streams.hosts.name, filter: subjects.anyRegistered, start: 'last-per-subject', signal, caughtUp, lost: () => {} }, (message) => {
      const registration = this.#own(message.subject, () => decodeRegistration((name) => message.headers?.get(name) ?? '', message.data), subjects.registered);
      if (registration) return handler({ sequence: message.seq, registration });
    });
  }

  /** Fire and forget; nothing is sent while the bus is away, for an old heartbeat would lie. */
  heartbeat(heartbeat: Heartbeat): void {
    if (this.state.connected && !this.connection.isClosed()) this.connection.publish(subjects.heartbeat(heartbeat.host), JSON.stringify(heartbeat));
  }

  /** Calls the handler for each heartbeat as it arrives, until the signal is aborted. Missed ones are gone. */
  watchHeartbeats(signal: AbortSignal, handler: (heartbeat: Heartbeat) => void, only?: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const subject = only === undefined ? subjects.anyHeartbeat : subjects.heartbeat(only);
      const subscription = this.connection.subscribe(subject, {
        callback: (error, message) => {
          if (error) {
            reject(new BusRefused(`this user may not watch ${subject}`, 'give the user the rights of its service (libs/bus: permissions)', { cause: error }));
            return;
          }
          const heartbeat = this.#own(message.subject, () => parseHeartbeat(message.string()), subjects.heartbeat);
          if (!heartbeat) return;
          try {
            handler(heartbeat);
          } catch (thrown) {
            subscription.unsubscribe();
            reject(thrown as Error);
          }
        },
      });
      const stop = (): void => subscription.unsubscribe();
      signal.addEventListener('abort', stop, { once: true });
      if (signal.aborted) stop();
      void subscription.closed.then(() => { signal.removeEventListener('abort', stop); resolve(); });
    });
  }

  /** Null, counted, when it cannot be read or speaks for another host than its subject. */
  #own<T extends { readonly host: string }>(subject: string, decode: () => T, expected: (host: string) => string): T | null {
    try {
      const event = decode();
      if (expected(event.host) !== subject) throw new InvalidEvent(`${subject} speaks for host ${event.host}`);
      return event;
    } catch (error) {
      if (!(error instanceof InvalidEvent)) throw error;
      metrics.eventsSkipped(1, { stream: 'hosts' });
      log.warn({ subject, reason: error.message }, 'an event of a host was skipped');
      return null;
    }
  }
}

function parseHeartbeat(text: string): Heartbeat {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InvalidEvent(`not JSON: ${(error as Error).message}`);
  }
  const parsed = Heartbeat.safeParse(value);
  if (!parsed.success) throw new InvalidEvent(`not a heartbeat: ${parsed.error.message}`);
  return parsed.data;
}
