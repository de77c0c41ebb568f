import * as http from 'node:http';
import * as https from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'minio';
import { ObjectConflict, ObjectCorrupt, ObjectMissing, StoreRefused, StoreUnavailable } from './errors.js';
import { checkKey, checkPrefix, checkRange } from './keys.js';
import { isCut, translate } from './s3-errors.js';
import { release, room } from './room.js';
import type { ByteRange, ListOptions, ObjectStore } from './store.js';

export interface S3Options {
  readonly endPoint: string;
  readonly port: number;
  readonly useSSL: boolean;
  readonly accessKey: string;
  readonly secretKey: string;
  /** Made when missing, if the credentials allow it. */
  readonly bucket: string;
  readonly region?: string;
  /** Put before every key, for a bucket shared with others: key parts joined by `/`. */
  readonly prefix?: string;
  /** A connection silent for this long is cut; the call fails as unreachable. */
  readonly silence_ms?: number;
}

/** Up to here a stored object is read back in full; above, its size and tail. Manifests and generation records are far below. */
const fullReadBackBytes = 1024 * 1024;
const tailBytes = 64 * 1024;
/** Connections to one server; more only queue in it. */
const connections = 32;
const pageKeys = 1000;
/** Two writers of one key at the same instant: S3 answers 409 and asks to try again. */
const conflictRetries = 4;
/** Left in the bucket. No key of ours can begin with a dot. */
const probeKey = '.virtcft/create-only-probe';

class S3Store implements ObjectStore {
  capability: ObjectStore['capability'] = { create_only: 'absent', read_back_bytes: fullReadBackBytes };
  readonly #client: Client;
  readonly #agent: http.Agent;
  readonly #bucket: string;
  readonly #prefix: string;

  constructor(options: S3Options) {
    const { bucket, prefix, silence_ms = 10_000, region = 'us-east-1', ...connection } = options;
    const protocol = options.useSSL ? https : http;
    this.#agent = new protocol.Agent({ keepAlive: true, maxSockets: connections });
    const request = (given: http.RequestOptions, onResponse: (response: http.IncomingMessage) => void): http.ClientRequest => {
      const sent = protocol.request(given, onResponse);
      cutWhenTooSlow(sent, silence_ms);
      return sent.setTimeout(silence_ms, () => sent.destroy(new Error(`no byte for ${silence_ms} ms`)));
    };
    // Retries are the caller's: it knows its deadline.
    this.#client = new Client({
      ...connection, region, transport: { request } as typeof http, transportAgent: this.#agent, retryOptions: { disableRetry: true, maximumRetryCount: 0 },
    });
    this.#bucket = bucket;
    this.#prefix = prefix === undefined || prefix === '' ? '' : `${prefix.replace(/\/$/, '')}/`;
    checkPrefix(this.#prefix);
  }

  /** Finds or makes the bucket, and learns whether it enforces create-only. */
  async prepare(): Promise<void> {
    await this.#attempt(this.#bucket, async () => {
      if (await this.#client.bucketExists(this.#bucket)) return;
      await this.#client.makeBucket(this.#bucket).catch((error: unknown) => {
        // Another process made it first.
        if ((error as { code?: string }).code !== 'BucketAlreadyOwnedByYou') throw error;
      });
    });
    const body = Buffer.from('virtcft: shows whether this store refuses to overwrite\n');
    const statuses = [await this.#create(probeKey, body), await this.#create(probeKey, body)];
    this.capability = { create_only: statuses.includes(412) ? 'enforced' : 'absent', read_back_bytes: fullReadBackBytes };
  }

  async put(key: string, body: Buffer): Promise<'created' | 'exists'> {
    checkKey(key);
    if (this.capability.create_only === 'absent') {
      if ((await this.stat(key)) !== null) return this.#compare(key, body);
      await this.#create(key, body);
      await this.#readBack(key, body, body.length);
      return 'created';
    }
    for (let attempt = 0; attempt <= conflictRetries; attempt++) {
      const status = await this.#create(key, body);
      if (status === 412) return this.#compare(key, body);
      if (status === 200) {
        await this.#readBack(key, body, fullReadBackBytes);
        return 'created';
      }
      await delay(20 * 2 ** attempt);
    }
    throw new StoreUnavailable('overloaded', `${key}: the server keeps answering 409 to a conditional put`);
  }

  /** The status of a conditional put: 200, 409 (try again) or 412 (the key is taken). */
  async #create(key: string, body: Buffer): Promise<number> {
    return this.#attempt(key, async () => {
      const response = await this.#client.makeRequestAsync(
        { method: 'PUT', bucketName: this.#bucket, objectName: this.#prefix + key, headers: { 'if-none-match': '*', 'content-type': 'application/octet-stream' } },
        body, [200, 409, 412],
      );
      await collect(response);
      return response.statusCode ?? 0;
    });
  }

  async #compare(key: string, body: Buffer): Promise<'exists'> {
    if (!(await this.get(key)).equals(body)) throw new ObjectConflict(key);
    return 'exists';
  }

  async #readBack(key: string, body: Buffer, inFull: number): Promise<void> {
    try {
      if (body.length <= inFull) {
        // Equal length and other bytes can be another writer's, where the store does not enforce create-only.
        if (!(await this.get(key)).equals(body)) throw this.capability.create_only === 'absent' ? new ObjectConflict(key) : new ObjectCorrupt(key, 'read back other bytes than were put');
        return;
      }
      const found = await this.stat(key);
      if (found === null) throw new ObjectMissing(key);
      if (found.bytes !== body.length) throw new ObjectCorrupt(key, `${body.length} bytes put, ${found.bytes} found`);
      const tail = await this.get(key, { offset: body.length - tailBytes, length: tailBytes });
      if (!tail.equals(body.subarray(body.length - tailBytes))) throw new ObjectCorrupt(key, 'read back another end than was put');
    } catch (error) {
      // Acknowledged but not there: not durable, so the put did not happen.
      throw error instanceof ObjectMissing ? new StoreUnavailable('unreachable', `${key}: put was acknowledged, but reading it back finds nothing`) : error;
    }
  }

  async get(key: string, range?: ByteRange): Promise<Buffer> {
    checkKey(key);
    if (range) checkRange(range);
    const headers = range ? { range: `bytes=${range.offset}-${range.offset + range.length - 1}` } : {};
    const body = await this.#attempt(key, async () =>
      collect(await this.#client.makeRequestAsync({ method: 'GET', bucketName: this.#bucket, objectName: this.#prefix + key, headers }, '', range ? [206] : [200])));
    if (range && body.length !== range.length) throw new ObjectCorrupt(key, `bytes ${range.offset}+${range.length} asked, ${body.length} found`);
    return body;
  }

  release(bytes: Buffer): void {
    release(bytes);
  }

  async stat(key: string): Promise<{ bytes: number } | null> {
    checkKey(key);
    try {
      return await this.#attempt(key, async () => ({ bytes: (await this.#client.statObject(this.#bucket, this.#prefix + key)).size }));
    } catch (error) {
      if (error instanceof ObjectMissing) return null;
      throw error;
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<{ key: string; bytes: number }> {
    checkPrefix(prefix);
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    let after = options.after === undefined ? '' : this.#prefix + options.after;
    while (left > 0) {
      // Pages go by start-after: the client's parser may take a continuation token for a number.
      const page = await this.#attempt(prefix, () => this.#client.listObjectsV2Query(this.#bucket, this.#prefix + prefix, '', '', Math.min(pageKeys, left), after));
      for (const object of page.objects) {
        if (object.name === undefined) continue;
        after = object.name;
        const key = object.name.slice(this.#prefix.length);
        if (key.startsWith('.')) continue;
        yield { key, bytes: object.size };
        if (--left <= 0) return;
      }
      if (!page.isTruncated || page.objects.length === 0) return;
    }
  }

  async remove(key: string): Promise<void> {
    checkKey(key);
    await this.#attempt(key, () => this.#client.removeObject(this.#bucket, this.#prefix + key)).catch((error: unknown) => {
      if (!(error instanceof ObjectMissing)) throw error;
    });
  }

  async close(): Promise<void> {
    this.#agent.destroy();
  }

  /** Every call may be made twice: a put that took place gives 412 the second time, and is compared. */
  async #attempt<T>(key: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call().catch((error: unknown) => {
        if (isCut(error)) return call();
        throw error;
      });
    } catch (error) {
      throw translate(error, key);
    }
  }
}

/** A connection that gives a byte now and then is never silent: one that carries less than this in a whole window of silence is cut, too. */
const slowest_bytes_per_s = 16 * 1024;

function cutWhenTooSlow(sent: http.ClientRequest, window_ms: number): void {
  const least = (slowest_bytes_per_s * window_ms) / 1_000;
  sent.once('socket', (socket) => {
    // What was written but waits for the peer has not moved.
    const moved = (): number => socket.bytesRead + socket.bytesWritten - socket.writableLength;
    let before = moved();
    const timer = setInterval(() => {
      const now = moved();
      if (now - before < least) sent.destroy(new Error(`${now - before} bytes in ${window_ms} ms, fewer than ${slowest_bytes_per_s} a second`));
      before = now;
    }, window_ms).unref();
    const end = (): void => { clearInterval(timer); };
    sent.once('close', end);
  });
}

async function collect(response: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  if (chunks.length === 1 && chunks[0]) return chunks[0];
  const body = room(chunks.reduce((sum, { length }) => sum + length, 0));
  let done = 0;
  for (const chunk of chunks) done += chunk.copy(body, done);
  return body;
}

/** A store in one bucket of an S3 server, with the credentials' permission to get, put, list and delete in it. */
export async function openS3Store(options: S3Options): Promise<ObjectStore> {
  if (options.accessKey === '' || options.secretKey === '') throw new StoreRefused('no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE');
  let store: S3Store;
  try {
    store = new S3Store(options);
  } catch (error) {
    throw error instanceof RangeError ? error : translate(error, options.bucket);
  }
  try {
    await store.prepare();
    return store;
  } catch (error) {
    await store.close();
    throw error instanceof ObjectMissing ? new StoreRefused(`no bucket "${options.bucket}"`, error) : error;
  }
}
