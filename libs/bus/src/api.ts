import { errors, headers, type Msg, type NatsConnection } from '@nats-io/transport-node';
import { subjects } from '@virtcft/events';
import { extract, inject, logger, span, type TraceContext } from '@virtcft/telemetry';
import { ApiError, BusError, BusRefused } from './errors.js';
import { limits } from './limits.js';
import { closed, forbidden } from './retry.js';

/** A reply: the value, or what went wrong and what to do next. */
type Reply = { readonly value: unknown } | { readonly error: { readonly code: string; readonly message: string; readonly next: string } };

export type ApiHandler = (body: unknown, trace: TraceContext) => Promise<unknown>;

const log = logger('bus');

/** Requests and replies between services, JSON over core NATS. Several instances of a service share its requests. */
export class Api {
  constructor(private readonly connection: NatsConnection) {}

  /** Answers a verb until the connection is closed. An ApiError that the handler throws reaches the caller as it is; others as `internal`. */
  serve(service: string, verb: string, handler: ApiHandler): void {
    const subject = subjects.api(service, verb);
    this.connection.subscribe(subject, {
      queue: service,
      callback: (error, message) => {
        if (error) log.error({ err: error, subject }, 'this user may not answer requests; give it the rights of its service');
        else void this.#answer(subject, message, handler);
      },
    });
  }

  async #answer(subject: string, message: Msg, handler: ApiHandler): Promise<void> {
    const trace = message.headers ? extract(message.headers) : {};
    const reply = await span(subject, { parent: trace }, (at) => handler(parseBody(message.string()), at.trace)).then(
      (value): Reply => ({ value: value ?? null }),
      (error: unknown): Reply => ({ error: describe(error, subject) }),
    );
    if (!this.connection.isClosed()) message.respond(JSON.stringify(reply));
  }

  /** Throws ApiError: the service's own, or `unavailable` (nobody serves it), `timeout`, `bad-reply`. */
  async request<T>(service: string, verb: string, body: unknown, options: { timeout_ms?: number } = {}): Promise<T> {
    const bag = headers();
    inject(bag);
    const timeout = options.timeout_ms ?? limits.request_ms;
    const message = await this.connection.request(subjects.api(service, verb), JSON.stringify(body ?? null), { timeout, headers: bag }).catch((error: unknown) => {
      throw requestError(error, service, verb, timeout);
    });
    const reply = parseReply(message.string(), `${service} ${verb}`);
    if ('error' in reply) throw new ApiError(reply.error.code, reply.error.message, reply.error.next);
    return reply.value as T;
  }
}

function requestError(error: unknown, service: string, verb: string, timeout_ms: number): Error {
  const refused = forbidden(error);
  if (refused) return new BusRefused(`this user may not ask ${service} to ${verb}`, 'use an operator\'s user', { cause: error });
  if (error instanceof errors.NoRespondersError || (error instanceof errors.RequestError && error.isNoResponders())) {
    return new ApiError('unavailable', `no ${service} answers on this bus`, `start ${service}, or give the address of the bus it uses`, { cause: error });
  }
  if (closed(error)) return new ApiError('unavailable', 'the connection to the bus is closed', 'connect again', { cause: error });
  return new ApiError('timeout', `${service} did not answer ${verb} within ${timeout_ms} ms`, 'it may have been done: look before asking again', { cause: error });
}

function describe(error: unknown, subject: string): { code: string; message: string; next: string } {
  if (error instanceof ApiError) return { code: error.code, message: error.message, next: error.next };
  log.error({ err: error, subject }, 'a request failed');
  if (error instanceof BusError) return { code: 'unavailable', message: error.message, next: error.next };
  return { code: 'internal', message: error instanceof Error ? error.message : String(error), next: 'see the log of the service' };
}

function parseBody(text: string): unknown {
  try {
    return JSON.parse(text === '' ? 'null' : text);
  } catch (error) {
    throw new ApiError('bad-request', `the request is not JSON: ${(error as Error).message}`, 'send JSON');
  }
}

function parseReply(text: string, from: string): Reply {
  try {
    const value = JSON.parse(text) as Reply;
    if (value !== null && typeof value === 'object' && ('value' in value || ('error' in value && typeof value.error.code === 'string'))) return value;
  } catch (error) {
    throw new ApiError('bad-reply', `${from} answered with something that is not JSON`, 'see that all services are of one version', { cause: error });
  }
  throw new ApiError('bad-reply', `${from} answered neither a value nor an error`, 'see that all services are of one version');
}
