import { connect, errors, type ConnectionOptions, type NatsConnection } from '@nats-io/transport-node';
import { logger, metrics } from '@virtcft/telemetry';
import { BusRefused, BusUnavailable, ServerTooOld } from './errors.js';
import { limits } from './limits.js';

export interface BusOptions {
  /** One or more URLs, separated by commas: nats://host:4222. */
  readonly servers: string;
  /** Who speaks: `coordinator`, `host-agent:<host>`; the source of its decisions. */
  readonly name: string;
  readonly user?: string;
  readonly password?: string;
  /** Default 2.12.0. */
  readonly minimumServer?: string;
}

/** The user's own place for replies, which nobody else may read. Only letters, digits, - and _ are safe in it. */
export const inboxPrefix = (user: string | undefined): string => (user === undefined ? '_INBOX' : `_INBOX.${user.replaceAll(/[^A-Za-z0-9_-]/g, '-')}`);

const log = logger('bus');

/** Connects once; afterwards reconnects for ever. */
export async function openConnection(options: BusOptions): Promise<NatsConnection> {
  const servers = options.servers.split(',').map((server) => server.trim());
  const settings: ConnectionOptions = {
    servers, name: options.name, inboxPrefix: inboxPrefix(options.user), maxReconnectAttempts: -1, reconnectTimeWait: limits.reconnect_ms, reconnectJitter: limits.reconnect_ms,
    pingInterval: limits.ping_ms, maxPingOut: 2, timeout: limits.api_ms, ignoreAuthErrorAbort: true, waitOnFirstConnect: false,
    ...(options.user === undefined ? {} : { user: options.user }), ...(options.password === undefined ? {} : { pass: options.password }),
  };
  const connection = await connect(settings).catch((error: unknown) => { throw refusal(error, options); });
  const { version } = connection.info ?? { version: '0.0.0' };
  const minimum = options.minimumServer ?? limits.minimumServer;
  if (!isAtLeast(version, minimum)) {
    await connection.close();
    throw new ServerTooOld(`the NATS server at ${options.servers} is version ${version}; ${minimum} or newer is needed`,
      'install a newer nats-server (npm run setup brings one); older ones silently ignore the expected sequence of the log');
  }
  if (connection.info?.jetstream !== true) {
    await connection.close();
    throw new BusUnavailable(`the NATS server at ${options.servers} runs without JetStream`, 'start it with jetstream { store_dir: ... } in its configuration');
  }
  return connection;
}

function refusal(error: unknown, options: BusOptions): Error {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof errors.AuthorizationError || error instanceof errors.UserAuthenticationExpiredError) {
    return new BusRefused(`the bus at ${options.servers} refused ${options.user === undefined ? 'a connection without user' : `user "${options.user}"`}`,
      'give the user and password of the server configuration (VIRTCFT_NATS_USER and VIRTCFT_NATS_PASSWORD_FILE, or --user and --password-file)', { cause: error });
  }
  return new BusUnavailable(`the bus at ${options.servers} cannot be reached: ${message}`, 'start nats-server there, or give the right address (VIRTCFT_NATS_URL or --nats)', { cause: error });
}

/** Compares the numbers of two versions; a pre-release counts as its version. */
export function isAtLeast(version: string, minimum: string): boolean {
  const numbers = (text: string): number[] => text.split(/[.-]/).slice(0, 3).map((part) => Number.parseInt(part, 10) || 0);
  const [have, want] = [numbers(version), numbers(minimum)];
  for (let i = 0; i < 3; i++) if ((have[i] ?? 0) !== (want[i] ?? 0)) return (have[i] ?? 0) > (want[i] ?? 0);
  return true;
}

/** Tells whether the bus is reachable now, and of every change. Ends with the connection. */
export class ConnectionState {
  #connected = true;
  readonly #listeners = new Set<(connected: boolean) => void>();

  constructor(connection: NatsConnection) {
    metrics.connected(1);
    void this.#watch(connection);
  }

  get connected(): boolean { return this.#connected; }

  /** Returns how to stop listening. */
  listen(listener: (connected: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Resolves when the bus is reachable or the signal is aborted: a request made meanwhile would only wait for its time to end. */
  reachable(signal: AbortSignal): Promise<void> {
    if (this.#connected || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => { unlisten(); signal.removeEventListener('abort', end); resolve(); };
      const unlisten = this.listen((connected) => { if (connected) end(); });
      signal.addEventListener('abort', end);
    });
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type === 'reconnect') this.#set(true, status.server);
      else if (status.type === 'disconnect' || status.type === 'close') this.#set(false, connection.isClosed() ? '' : connection.getServer());
      else if (status.type === 'error') log.warn({ err: status.error }, 'the bus reports an error');
    }
    this.#set(false, '');
  }

  #set(connected: boolean, server: string): void {
    if (connected === this.#connected) return;
    this.#connected = connected;
    metrics.connected(connected ? 1 : 0);
    if (connected || server !== '') log.info({ server }, connected ? 'bus connected again' : 'bus lost');
    for (const listener of [...this.#listeners]) listener(connected);
  }
}
