import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { FormatError } from '@virtcft/checkpoint';
import { ObjectConflict, ObjectMissing, StoreUnavailable } from '@virtcft/object-store';
import { extract, logger, span } from '@virtcft/telemetry';
import { limits } from '../limits.js';
import { HttpError } from './errors.js';

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  /** The named groups of the route's pattern. */
  readonly path: Readonly<Record<string, string>>;
}
export interface Route {
  readonly method: 'GET' | 'HEAD' | 'PUT';
  readonly pattern: RegExp;
  readonly handle: (exchange: Exchange) => Promise<void>;
}

const log = logger('http');

/** The data plane: packs and images in, pages out. Bound to the address it is given, never to all. */
export class DataServer {
  private readonly server: Server;

  constructor(private readonly routes: readonly Route[]) {
    this.server = createServer((request, response) => void this.answer(request, response));
    this.server.keepAliveTimeout = limits.idle_ms;
    this.server.requestTimeout = limits.idle_ms * 5;
    this.server.on('connection', (socket) => socket.setNoDelay(true));
  }

  /** Returns the port: another than asked for when that was 0. */
  async listen(address: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', (error: NodeJS.ErrnoException) => {
        reject(error.code === 'EADDRINUSE' ? new Error(`${address}:${port} is in use; set VIRTCFT_HTTP_PORT to a free port or stop what listens there`) : error);
      });
      this.server.listen(port, address, resolve);
    });
    return (this.server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://replica-store');
    try {
      for (const route of this.routes) {
        const match = route.method === request.method ? route.pattern.exec(url.pathname) : null;
        if (match === null) continue;
        const exchange = { request, response, query: url.searchParams, path: match.groups ?? {} };
        await span(`${route.method} ${route.pattern.source}`, { parent: extract(request.headers) }, () => route.handle(exchange));
        return;
      }
      throw new HttpError(404, `there is no ${request.method} ${url.pathname}`);
    } catch (error) {
      const status = statusOf(error);
      if (status >= 500) log.warn({ err: error, path: url.pathname }, 'a request failed');
      if (response.headersSent) response.destroy();
      else response.writeHead(status, { 'content-type': 'text/plain', connection: 'close' }).end(error instanceof Error ? error.message : String(error));
    }
  }
}

function statusOf(error: unknown): number {
  if (error instanceof HttpError) return error.status;
  if (error instanceof FormatError) return 400;
  if (error instanceof ObjectMissing) return 404;
  if (error instanceof ObjectConflict) return 409;
  if (error instanceof StoreUnavailable) return 503;
  return 500;
}

/** The whole body, of the length announced and not beyond `bound` bytes. */
export async function readBody(request: IncomingMessage, bound: number): Promise<Buffer> {
  const length = Number(request.headers['content-length']);
  if (!Number.isSafeInteger(length) || length < 0) throw new HttpError(411, 'send a content-length');
  if (length > bound) throw new HttpError(413, `a body of ${length} bytes is beyond the bound of ${bound}`);
  const body = Buffer.allocUnsafe(length);
  let filled = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    if (filled + chunk.length > length) throw new HttpError(400, 'the body is longer than its content-length');
    filled += chunk.copy(body, filled);
  }
  if (filled !== length) throw new HttpError(400, 'the body is shorter than its content-length');
  return body;
}
