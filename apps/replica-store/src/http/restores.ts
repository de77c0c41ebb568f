import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { cutKey, imageSections, type ImageView, type RestoreView } from '@virtcft/checkpoint';
import type { ObjectStore } from '@virtcft/object-store';
import { limits } from '../limits.js';
import type { Replicas } from '../replicas.js';
import { HttpError } from './errors.js';
import type { Exchange, Route } from './server.js';

const cut = '/v1/clusters/(?<cluster>[0-9a-f-]{36})/cuts/(?<hash>[0-9a-f]{64})';
const vm = `${cut}/vms/(?<vm>[a-z0-9-]{1,40})`;

/** What of a VM is read in pages. */
interface Readable {
  readonly path: string;
  readonly of: (view: RestoreView, path: Exchange['path']) => ImageView;
}
const memory: Readable = { path: 'pages', of: (view) => view.memory };
const disk: Readable = {
  path: 'disks/(?<disk>[a-z0-9-]{1,40})/blocks',
  of: (view, path) => {
    const name = part(path, 'disk');
    if (!view.disks.some((each) => each.name === name)) throw new HttpError(404, `VM "${view.vm}" has no disk "${name}" in this cut`);
    return view.disk(name);
  },
};

/** What a restore reads, and what makes one quick: base images ahead of their cut (PUT .../ready begins it, 200 says that it is done); the manifest, device state, channel state, and the pages of the memory and of each disk, by stream and by the piece. */
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
    {
      method: 'PUT', pattern: /^\/v1\/clusters\/(?<cluster>[0-9a-f-]{36})\/images\/(?<hash>[0-9a-f]{64})\/ready$/,
      handle: async ({ path, response }) => {
        const ready = await replicas.of(part(path, 'cluster')).prepare(part(path, 'hash'));
        response.writeHead(ready ? 200 : 202, { 'content-type': 'text/plain' }).end(ready ? 'ready' : 'fetching');
      },
    },
    ...[memory, disk].flatMap((readable) => pageRoutes(replicas, readable)),
  ];
}

function pageRoutes(replicas: Replicas, { path: what, of }: Readable): Route[] {
  return [
    { method: 'GET', pattern: new RegExp(`^${vm}/${what}$`), handle: (exchange) => streamPages(exchange, replicas, of) },
    {
      method: 'GET', pattern: new RegExp(`^${vm}/${what}/(?<first>[0-9]{1,10})/(?<count>[0-9]{1,6})$`),
      handle: async ({ path, response }) => {
        const [first, count] = [whole(part(path, 'first')), whole(part(path, 'count'))];
        if (count < 1 || count > limits.wanted_pages) throw new HttpError(400, `ask for 1 to ${limits.wanted_pages} pages`);
        const view = await replicas.of(part(path, 'cluster')).view(part(path, 'hash'), part(path, 'vm'));
        try {
          send(response, await of(view, path).read(first, count));
        } finally {
          view.close();
        }
      },
    },
  ];
}

/** Every page that holds data, as length-prefixed page sections; a zero length closes the stream. What it does not name is zero. */
async function streamPages({ path, response }: Exchange, replicas: Replicas, of: Readable['of']): Promise<void> {
  const replica = replicas.of(part(path, 'cluster'));
  const view = await replica.view(part(path, 'hash'), part(path, 'vm'));
  const end = (): void => { response.destroy(); };
  const ended = replica.streaming(end);
  try {
    const image = of(view, path);
    // A host that died without a word must not keep the fold where it is.
    response.setTimeout(limits.stalled_ms, end);
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    await pipeline(sections(image), response);
  } catch (error) {
    // The reader went, or what it read became void: it knows by the missing end mark.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  } finally {
    ended();
    view.close();
  }
}

async function* sections(image: ImageView): AsyncGenerator<Buffer> {
  for await (const section of imageSections(image, limits.stream_pages)) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(section.length);
    yield length;
    yield section;
  }
  yield Buffer.alloc(4);
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
