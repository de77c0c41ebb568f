import { createServer, request } from 'node:http';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from 'minio';
import type { S3Server } from './s3-server.js';

export interface Relay {
  readonly port: number;
  /** What is done to each request from now on. */
  mode: 'pass' | 'unconditional' | 'swallow' | 'cut-after-request' | 'cut-in-answer' | { readonly status: number; readonly body?: string };
  close(): Promise<void>;
}

/** An HTTP relay before a server on loopback that can do what networks and lesser servers do. */
export async function startRelay(target: S3Server): Promise<Relay> {
  const relay: { mode: Relay['mode'] } = { mode: 'pass' };
  const server = createServer((incoming, outgoing) => {
    if (typeof relay.mode === 'object') {
      incoming.resume();
      outgoing.writeHead(relay.mode.status, { 'content-type': 'application/xml' }).end(incoming.method === 'HEAD' ? undefined : relay.mode.body);
    } else if (relay.mode === 'unconditional' && incoming.headers['if-none-match']) {
      void putUnconditionally(target, incoming, outgoing);
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

/** The header is signed, so the request is made anew without it: what a server does that ignores it. */
async function putUnconditionally(target: S3Server, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const body: Buffer[] = [];
  for await (const chunk of incoming) body.push(chunk as Buffer);
  const [, bucketName = '', ...key] = decodeURIComponent(incoming.url ?? '').split('/');
  const client = new Client({ ...target, useSSL: false, region: 'us-east-1' });
  await client.makeRequestAsyncOmit({ method: 'PUT', bucketName, objectName: key.join('/') }, Buffer.concat(body));
  outgoing.writeHead(200).end();
}

function forward(target: number, mode: Relay['mode'], incoming: IncomingMessage, outgoing: ServerResponse): void {
  const headers: OutgoingHttpHeaders = { ...incoming.headers };
  const upstream = request({ host: '127.0.0.1', port: target, method: incoming.method, path: incoming.url, headers }, (answer) => {
    if (mode === 'cut-after-request') {
      answer.resume();
      answer.on('end', () => outgoing.destroy());
      return;
    }
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    if (mode === 'cut-in-answer') {
      answer.once('data', (chunk: Buffer) => outgoing.write(chunk.subarray(0, chunk.length / 2), () => outgoing.destroy()));
    } else {
      answer.pipe(outgoing);
    }
  });
  upstream.on('error', () => outgoing.destroy());
  incoming.pipe(upstream);
}
