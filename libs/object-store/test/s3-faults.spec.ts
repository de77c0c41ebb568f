import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { jest } from '@jest/globals';
import { ObjectConflict, ObjectCorrupt, openS3Store, StoreError, StoreRefused, StoreUnavailable } from '../src/index.js';
import type { ObjectStore } from '../src/index.js';
import { startRelay, type Relay, type RelayMode } from './relay.js';
import { startS3Server, type S3Server, type S3ServerKind } from './s3-server.js';

/** Of the one that is to give up soon; a loaded machine may be silent for as long. */
const SILENCE_MS = 400;
const xml = (code: string): string => `<Error><Code>${code}</Code><Message>m</Message></Error>`;

describe.each(['minio', 'versitygw'] as const)('faults between the S3 store and %s', (kind: S3ServerKind) => {
  let server: S3Server;
  let relay: Relay;
  let store: ObjectStore;
  let hasty: ObjectStore;
  let direct: ObjectStore;
  const options = (port: number) => ({ endPoint: '127.0.0.1', port, useSSL: false, accessKey: server.accessKey, secretKey: server.secretKey, bucket: 'faults' });
  const key = (): string => `test/${randomBytes(8).toString('hex')}`;

  beforeAll(async () => {
    server = await startS3Server({ kind });
    relay = await startRelay(server);
    direct = await openS3Store(options(server.port));
    store = await openS3Store(options(relay.port));
    hasty = await openS3Store({ ...options(relay.port), silence_ms: SILENCE_MS });
  }, 60_000);
  beforeEach(() => { relay.mode = 'pass'; });
  afterAll(async () => {
    await Promise.all([store.close(), hasty.close(), direct.close()]);
    await relay.close();
    await server.stop();
  });

  it.each<[string, RelayMode, 'overloaded' | 'full' | 'unreachable']>([
    ['500', { status: 500 }, 'overloaded'], ['502', { status: 502, body: '<html>' }, 'overloaded'], ['503 SlowDown', { status: 503, body: xml('SlowDown') }, 'overloaded'], ['429', { status: 429 }, 'overloaded'],
    ['429 TooManyRequests', { status: 429, body: xml('TooManyRequests') }, 'overloaded'], ['507', { status: 507, body: xml('XMinioStorageFull') }, 'full'], ['a cut in the middle of a put', 'cut-in-request', 'unreachable'],
    ['a put whose answer is lost', 'cut-after-request', 'unreachable'], ['no answer', 'swallow', 'unreachable'],
  ])('%s is trouble that may pass: nothing is believed stored, and the same put goes on afterwards', async (_, mode, reason) => {
    const [name, body] = [key(), randomBytes(300_000)];
    relay.mode = mode;
    await expect((mode === 'swallow' ? hasty : store).put(name, body)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', reason });
    relay.mode = 'pass';
    expect(['created', 'exists']).toContain(await store.put(name, body));
    expect((await direct.get(name)).equals(body)).toBe(true);
    await expect(store.put(name, randomBytes(300_000))).rejects.toThrow(ObjectConflict);
  });

  it('a put that is acknowledged and not done, or done by half, is found by reading it back (R14)', async () => {
    for (const bytes of [1_000, 3 * 1024 * 1024]) {
      const body = randomBytes(bytes);
      relay.mode = 'lie';
      await expect(store.put(key(), body)).rejects.toThrow(StoreUnavailable);
      relay.mode = 'shorten';
      await expect(store.put(key(), body)).rejects.toThrow(ObjectCorrupt);
    }
  });

  it('an answer that is cut, or comes by the byte, is no object', async () => {
    const [name, body] = [key(), randomBytes(300_000)];
    await store.put(name, body);
    for (const mode of ['cut-in-answer', 'trickle'] as const) {
      relay.mode = mode;
      await expect(hasty.get(name)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', reason: 'unreachable' });
      await expect(hasty.get(name, { offset: 5, length: 200_000 })).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    }
    relay.mode = 'pass';
    expect((await store.get(name)).equals(body)).toBe(true);
  });

  it('refused credentials and a wrong clock are for an operator, who is told what to do', async () => {
    await expect(openS3Store({ ...options(server.port), secretKey: 'wrong-secret' })).rejects.toThrow(StoreRefused);
    await expect(openS3Store({ ...options(server.port), accessKey: 'nobody' })).rejects.toThrow(StoreRefused);
    // This process' clock: what it signs is an hour old for the server.
    jest.useFakeTimers({ now: Date.now() - 3_600_000, doNotFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'clearImmediate', 'nextTick', 'queueMicrotask', 'performance', 'hrtime'] });
    try {
      const late = store.put(key(), Buffer.from('x'));
      await expect(late).rejects.toThrow(StoreRefused);
      await expect(late).rejects.toThrow(/RequestTimeTooSkewed.*NTP/);
    } finally {
      jest.useRealTimers();
    }
  });

  it('whatever fails and however often, what a put said is stored is there, byte for byte', async () => {
    const modes: RelayMode[] = ['pass', 'cut-in-request', 'cut-after-request', 'lie', 'shorten', 'pass', { status: 503, body: xml('SlowDown') }, { status: 500 }, 'pass'];
    let [stored, failed] = [0, 0];
    for (let i = 0; i < 90; i++) {
      const [name, body] = [key(), randomBytes(1 + ((i * 7919) % 60_000))];
      let told = false;
      for (let attempt = 0; attempt < 3 && !told; attempt++) {
        relay.mode = modes[(i + attempt * 4) % modes.length] ?? 'pass';
        told = await store.put(name, body).then(() => true, (error: unknown) => {
          expect(error).toBeInstanceOf(StoreError);
          return false;
        });
      }
      if (told) {
        stored++;
        expect((await direct.get(name)).equals(body)).toBe(true);
      } else failed++;
    }
    expect(stored).toBeGreaterThan(30);
    expect(failed).toBeGreaterThan(0);
  }, 60_000);
});

it('a server whose certificate nobody vouches for is refused, and it is said what to give', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtcft-tls-'));
  const [key, cert] = [join(folder, 'key'), join(folder, 'cert')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  try {
    const opened = openS3Store({ endPoint: '127.0.0.1', port: (server.address() as AddressInfo).port, useSSL: true, accessKey: 'a', secretKey: 'b', bucket: 'faults' });
    await expect(opened).rejects.toThrow(StoreRefused);
    await expect(opened).rejects.toThrow('NODE_EXTRA_CA_CERTS');
  } finally {
    await new Promise((done) => server.close(done));
    rmSync(folder, { recursive: true });
  }
});
