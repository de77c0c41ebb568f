import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { cutKey } from '@virtcft/checkpoint';
import type { ObjectStore } from '@virtcft/object-store';
import { limits } from '../limits.js';
import type { Replicas } from '../replicas.js';
import { HttpError } from './errors.js';
import type { Exchange, Route } from './server.js';

const cut = '/v1/clusters/(?<cluster>[0-9a-f-]{36})/cuts/(?<hash>[0-9a-f]{64})';
const vm = `${cut}/vms/(?<vm>[a-z0-9-]{1,40})`;

/** What a restore reads: the manifest, device state, channel state, and the pages, by stream and by the piece. */
export function restoreRoutes(store: ObjectStore, replicas: Replicas): Route[] {
  return [
    {
      method: 'GET', pattern: new RegExp(`^${cut}/manifest$`),
      handle: async ({ path, query, response }) => {
        const key = cutKey({ cluster: part(path, 'cluster'), generation: whole(query.get('generation')), epoch: whole(query.get('epoch')), hash: part(path, 'hash') });
        send(response, await store.get(key));
      },
    },
    {
      method: 'GET', pattern: new RegExp(`^${vm}/device$`),
      handle: async ({ path, response }) => {
        const view = await replicas.of(part(path, 'cluster')).view(part(path, 'hash'), part(path, 'vm'));
        try {
          response.setHeader('x-virtcft-run-state', view.runState);
          send(response, await view.device());
        } finally {
          view.close();
        }
      },
    },
    {
      method: 'GET', pattern: new RegExp(`^${cut}/channel$`),
      handle: async ({ path, response }) => {
        const fold = await replicas.of(part(path, 'cluster')).at(part(path, 'hash'));
        send(response, Buffer.from(JSON.stringify(fold.channel().map(({ nic, frame }) => ({ nic, frame: frame.toString('base64') })))));
      },
    },
    { method: 'GET', pattern: new RegExp(`^${vm}/pages$`), handle: (exchange) => streamPages(exchange, replicas) },
    {
      method: 'GET', pattern: new RegExp(`^${vm}/pages/(?<first>[0-9]{1,10})/(?<count>[0-9]{1,6})$`),
      handle: async ({ path, response }) => {
        const [first, count] = [whole(part(path, 'first')), whole(part(path, 'count'))];
        if (count < 1 || count > limits.wanted_pages) throw new HttpError(400, `ask for 1 to ${limits.wanted_pages} pages`);
        const view = await replicas.of(part(path, 'cluster')).view(part(path, 'hash'), part(path, 'vm'));
        try {
          send(response, await view.read(first, count));
        } finally {
          view.close();
        }
      },
    },
  ];
}

/** Every page that holds data, as length-prefixed page sections; a zero length closes the stream. What it does not name is zero. */
async function streamPages({ path, response }: Exchange, replicas: Replicas): Promise<void> {
  const view = await replicas.of(part(path, 'cluster')).view(part(path, 'hash'), part(path, 'vm'));
  try {
    const extents = await view.extents();
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    for (let at = 0; at + 1 < extents.length; at += 2) {
      const end = (extents[at] ?? 0) + (extents[at + 1] ?? 0);
      for (let first = extents[at] ?? 0; first < end; first += limits.stream_pages) {
        await write(response, await view.read(first, Math.min(limits.stream_pages, end - first)));
        if (response.destroyed) return;
      }
    }
    response.end(Buffer.alloc(4));
  } finally {
    view.close();
  }
}

async function write(response: ServerResponse, section: Buffer): Promise<void> {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(section.length);
  response.write(length);
  if (!response.write(section) && !response.destroyed) await Promise.race([once(response, 'drain'), once(response, 'close')]);
}

function send(response: ServerResponse, body: Buffer): void {
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body.length }).end(body);
}

function part(path: Exchange['path'], name: string): string {
  const value = path[name];
  if (value === undefined) throw new HttpError(400, `${name} is missing`);
  return value;
}

function whole(text: string | null): number {
  const value = Number(text);
  if (text === null || !Number.isSafeInteger(value) || value < 0) throw new HttpError(400, 'give whole numbers');
  return value;
}
