import { createServer, request } from 'node:http';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from 'minio';
import type { S3Server } from './s3-server.js';

/**
 * `swallow`: no answer. `cut-in-request`: in the middle of a body. `cut-after-request`: done, and not told. `lie`: a put is acknowledged and not done. `shorten`: half of a put is stored, and acknowledged.
 * `trickle`: a byte of the answer every 50 ms.
 */
export type RelayMode = 'pass' | 'unconditional' | 'swallow' | 'cut-in-request' | 'cut-after-request' | 'cut-in-answer' | 'lie' | 'shorten' | 'trickle' | { readonly status: number; readonly body?: string };

export interface Relay {
  readonly port: number;
  /** What is done to each request from now on. */
  mode: RelayMode;
  close(): Promise<void>;
}

/** An HTTP relay before a server on loopback that can do what networks and lesser servers do. */
export async function startRelay(target: S3Server): Promise<Relay> {
  const relay: { mode: RelayMode } = { mode: 'pass' };
  const server = createServer((incoming, outgoing) => {
    if (typeof relay.mode === 'object') {
      incoming.resume();
      outgoing.writeHead(relay.mode.status, { 'content-type': 'application/xml' }).end(incoming.method === 'HEAD' ? undefined : relay.mode.body);
    } else if (relay.mode === 'unconditional' && incoming.headers['if-none-match']) {
      void putAnew(target, incoming, outgoing, (body) => body);
    } else if (relay.mode === 'shorten' && incoming.method === 'PUT') {
      void putAnew(target, incoming, outgoing, (body) => body.subarray(0, body.length >> 1));
    } else if (relay.mode === 'lie' && incoming.method === 'PUT') {
      incoming.resume();
      incoming.once('end', () => outgoing.writeHead(200, { etag: '"0"' }).end());
    } else if (relay.mode === 'cut-in-request' && incoming.method === 'PUT') {
      cutInRequest(target.port, incoming, outgoing);
    } else if (relay.mode !== 'swallow') {
      forward(target.port, relay.mode, incoming, outgoing);
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return Object.assign(relay, {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  });
}

/** Header and body are signed, so the request is made anew without the condition, and with another body: what a server does that ignores the one or loses of the other. */
async function putAnew(target: S3Server, incoming: IncomingMessage, outgoing: ServerResponse, kept: (body: Buffer) => Buffer): Promise<void> {
  const body: Buffer[] = [];
  for await (const chunk of incoming) body.push(chunk as Buffer);
  const [, bucketName = '', ...key] = decodeURIComponent(incoming.url ?? '').split('/');
  const client = new Client({ ...target, useSSL: false, region: 'us-east-1' });
  await client.makeRequestAsyncOmit({ method: 'PUT', bucketName, objectName: key.join('/') }, kept(Buffer.concat(body)));
  outgoing.writeHead(200).end();
}

/** The server sees a body that ends in the middle, the client a connection that does. */
function cutInRequest(target: number, incoming: IncomingMessage, outgoing: ServerResponse): void {
  const upstream = request({ host: '127.0.0.1', port: target, method: 'PUT', path: incoming.url, headers: { ...incoming.headers } });
  upstream.on('error', () => undefined);
  let left = Number(incoming.headers['content-length'] ?? 0) >> 1;
  incoming.on('error', () => undefined);
  incoming.on('data', (chunk: Buffer) => {
    upstream.write(chunk.subarray(0, Math.max(0, left)));
    left -= chunk.length;
    if (left > 0) return;
    upstream.destroy();
    outgoing.destroy();
    incoming.destroy();
  });
}

function trickle(answer: IncomingMessage, outgoing: ServerResponse): void {
  const chunks: Buffer[] = [];
  answer.on('data', (chunk: Buffer) => chunks.push(chunk));
  answer.once('end', () => {
    const body = Buffer.concat(chunks);
    let at = 0;
    const timer = setInterval(() => {
      if (at >= body.length || outgoing.destroyed) clearInterval(timer);
      else outgoing.write(body.subarray(at, ++at));
    }, 50);
    outgoing.once('close', () => { clearInterval(timer); });
  });
}

function forward(target: number, mode: RelayMode, incoming: IncomingMessage, outgoing: ServerResponse): void {
  const headers: OutgoingHttpHeaders = { ...incoming.headers };
  const upstream = request({ host: '127.0.0.1', port: target, method: incoming.method, path: incoming.url, headers }, (answer) => {
    if (mode === 'cut-after-request') {
      answer.resume();
      answer.on('end', () => outgoing.destroy());
      return;
    }
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    if (mode === 'trickle') {
      trickle(answer, outgoing);
    } else if (mode === 'cut-in-answer') {
      answer.once('data', (chunk: Buffer) => outgoing.write(chunk.subarray(0, chunk.length / 2), () => outgoing.destroy()));
    } else {
      answer.pipe(outgoing);
    }
  });
  upstream.on('error', () => outgoing.destroy());
  incoming.pipe(upstream);
}
