import { createServer, type Server } from 'node:http';
import { WrongConfiguration } from './configuration.js';

/** Whether a service is of use now: it has begun, what it needs is there, and nobody told it to stop. */
export class Health {
  #stage: 'starting' | 'running' | 'stopping' = 'starting';
  readonly #needs = new Map<string, () => boolean>();

  /** Not ready while `met` says no. A later need of the same name replaces it. */
  need(what: string, met: () => boolean): void { this.#needs.set(what, met); }

  /** All that a start does is done. A service that starts again within its process says so first. */
  started(): void { this.#stage = 'running'; }
  startsAgain(): void { this.#stage = 'starting'; }
  stops(): void { this.#stage = 'stopping'; }

  /** What keeps it from being ready; empty: it is. */
  missing(): string[] {
    return [...(this.#stage === 'running' ? [] : [this.#stage]), ...[...this.#needs].filter(([, met]) => !met()).map(([what]) => what)];
  }
}

export interface HealthServer { close(): Promise<void> }

/**
 * Serves GET /live (200 while the process answers) and GET /ready (200 or 503, with what is missing) on VIRTCFT_HEALTH_PORT
 * (VIRTCFT_HEALTH_ADDRESS, default 127.0.0.1). Null when no port is given. Throws WrongConfiguration.
 */
export async function serveHealth(health: Health, env: NodeJS.ProcessEnv): Promise<HealthServer | null> {
  const given = env['VIRTCFT_HEALTH_PORT'];
  if (given === undefined || given === '') return null;
  const port = Number(given);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new WrongConfiguration(`VIRTCFT_HEALTH_PORT is "${given}"; give a port from 1 to 65535`);
  const address = env['VIRTCFT_HEALTH_ADDRESS'] || '127.0.0.1';
  const server = createServer({ requestTimeout: 5_000, maxHeaderSize: 4_096 }, (request, response) => {
    const missing = request.url === '/ready' ? health.missing() : [];
    const status = request.url !== '/ready' && request.url !== '/live' ? 404 : missing.length === 0 ? 200 : 503;
    response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(`${JSON.stringify({ ok: status === 200, missing })}\n`);
  });
  await listening(server, port, address);
  return { close: () => new Promise((resolve) => { server.close(() => { resolve(); }); server.closeAllConnections(); }) };
}

function listening(server: Server, port: number, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => { reject(new WrongConfiguration(`VIRTCFT_HEALTH_PORT: ${address}:${port} cannot be listened on (${(error as NodeJS.ErrnoException).code ?? error.message}); give a free port and an address of this machine`, { cause: error })); });
    server.listen(port, address, resolve);
  });
}
