import { chunkKey, decodeChunk, imageKey, limits as formats, parseChunkKey, parseImage, parseImageKey, putChunk, type ContentHold, type ContentUses, type Image } from '@virtcft/checkpoint';
import type { ObjectStore } from '@virtcft/object-store';
import { metrics } from '@virtcft/telemetry';
import { limits } from '../limits.js';
import { HttpError } from './errors.js';
import { readBody, type Exchange, type Route } from './server.js';

const pathOf = (kind: string): RegExp => new RegExp(`^/v1/clusters/(?<cluster>[0-9a-f-]{36})/${kind}/(?<hash>[0-9a-f]{64})$`);

/**
 * What disks begin with: chunks first, then the image that names them; each verified, then durable, then acknowledged. What is found or put counts as used,
 * so that it is not removed as garbage before something names it; who comes too late is refused at the image, and puts what is missing again.
 */
export function imageRoutes(store: ObjectStore, uses: ContentUses): Route[] {
  const chunk = ({ path }: Exchange): Named => keyOf(path, chunkKey, parseChunkKey);
  const image = ({ path }: Exchange): Named => keyOf(path, imageKey, parseImageKey);
  const exists = (of: (exchange: Exchange) => Named) => async (exchange: Exchange): Promise<void> => {
    const { key } = of(exchange);
    await uses.use(key);
    exchange.response.writeHead(await store.stat(key) === null ? 404 : 200).end();
  };
  return [
    { method: 'HEAD', pattern: pathOf('chunks'), handle: exists(chunk) },
    { method: 'HEAD', pattern: pathOf('images'), handle: exists(image) },
    {
      method: 'PUT', pattern: pathOf('chunks'),
      handle: async (exchange) => {
        const { key, hash } = chunk(exchange);
        const stored = await readBody(exchange.request, formats.chunkStoredBytes);
        await decodeChunk(stored, hash);
        await uses.use(key);
        acknowledge(exchange, await putChunk(store, key, hash, stored), stored.length, 'chunk');
      },
    },
    {
      method: 'PUT', pattern: pathOf('images'),
      handle: async (exchange) => {
        const { key, hash, cluster } = image(exchange);
        const bytes = await readBody(exchange.request, formats.imageBytes);
        const held = uses.hold();
        try {
          await checkChunks(store, held, cluster, parseImage(bytes, hash));
          await held.use(key);
          acknowledge(exchange, await store.put(key, bytes), bytes.length, 'image');
        } finally {
          held.release();
        }
      },
    },
  ];
}

interface Named { readonly key: string; readonly hash: string; readonly cluster: string }

function keyOf({ cluster = '', hash = '' }: Exchange['path'], make: (of: { cluster: string; hash: string }) => string, parse: (key: string) => unknown): Named {
  const key = make({ cluster, hash });
  if (parse(key) === null) throw new HttpError(400, `"${cluster}" is not the id of a cluster`);
  return { key, hash, cluster };
}

/** An image that is stored can be read: its chunks come first. */
async function checkChunks(store: ObjectStore, held: ContentHold, cluster: string, { chunks }: Image): Promise<void> {
  const hashes = named(chunks);
  await Promise.all(Array.from({ length: limits.chunk_looks }, async () => {
    for (const hash of hashes) {
      const key = chunkKey({ cluster, hash });
      await held.use(key);
      if (await store.stat(key) === null) throw new HttpError(409, `chunk ${hash} of the image is not stored; put it first`);
    }
  }));
}

/** Each once. A generator is closed by the first failure of who takes from it, and so ends the others. */
function* named(chunks: Image['chunks']): Generator<string> {
  for (const hash of new Set(chunks)) if (hash !== null) yield hash;
}

function acknowledge({ response }: Exchange, outcome: 'created' | 'exists', bytes: number, kind: string): void {
  if (outcome === 'created') metrics.storedBytes(bytes, { kind });
  response.writeHead(outcome === 'created' ? 201 : 200).end();
}
