import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ObjectConflict, openS3Store, openStore, sealedStore, StoreRefused, StoreUnavailable } from '../src/index.js';
import { objectStoreContract } from './contract.js';
import { startRelay } from './relay.js';
import type { Relay } from './relay.js';
import { startS3Server } from './s3-server.js';
import type { S3Server } from './s3-server.js';
import { keysOf } from './sealed-samples.js';

let server: S3Server;
let other: S3Server;
let relay: Relay;
beforeAll(async () => {
  server = await startS3Server();
  other = await startS3Server({ kind: 'versitygw' });
  relay = await startRelay(server);
}, 900_000);
afterAll(async () => {
  await relay.close();
  await Promise.all([server.stop(), other.stop()]);
});

const options = (port: number) => ({ endPoint: '127.0.0.1', port, useSSL: false, accessKey: server.accessKey, secretKey: server.secretKey });

objectStoreContract('MinIO', 'enforced', () => openS3Store({ ...options(server.port), bucket: 'contract' }));
objectStoreContract('MinIO with a prefix', 'enforced', () => openS3Store({ ...options(server.port), bucket: 'shared', prefix: 'one/two' }));
objectStoreContract('Versity S3 Gateway', 'enforced', () => openS3Store({ ...options(other.port), bucket: 'contract' }));
objectStoreContract('S3 without conditional puts', 'absent', () => {
  relay.mode = 'unconditional';
  return openS3Store({ ...options(relay.port), bucket: 'lesser' });
});
objectStoreContract('MinIO, sealed', 'enforced', async () => sealedStore(await openS3Store({ ...options(server.port), bucket: 'sealed' }), { keys: keysOf('one'), plain: 'refuse' }));
objectStoreContract('S3 without conditional puts, sealed', 'absent', async () => {
  relay.mode = 'unconditional';
  return sealedStore(await openS3Store({ ...options(relay.port), bucket: 'lesser-sealed' }), { keys: keysOf('one'), plain: 'refuse' });
});

describe('S3 store', () => {
  beforeEach(() => { relay.mode = 'pass'; });

  it('opens by address, with credentials from the environment', async () => {
    const env = { AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: server.secretKey };
    const store = await openStore(`s3+http://127.0.0.1:${server.port}/by-address/deep`, env);
    await store.put('a/b', Buffer.from('x'));
    const whole = await openStore(`s3+http://127.0.0.1:${server.port}/by-address`, env);
    expect((await whole.get('deep/a/b')).toString()).toBe('x');
    await Promise.all([store.close(), whole.close()]);
  });

  it.each(['s3+ftp://h/b', 'nonsense', 's3+http://host', 's3+http://u:p@host/bucket'])('refuses the address %s', async (url) => {
    await expect(openStore(url, {})).rejects.toThrow(StoreRefused);
  });

  it('refuses wrong and missing credentials', async () => {
    await expect(openS3Store({ ...options(server.port), bucket: 'contract', secretKey: 'wrong-secret' })).rejects.toThrow(StoreRefused);
    await expect(openS3Store({ ...options(server.port), bucket: 'contract', accessKey: '' })).rejects.toThrow(StoreRefused);
  });

  it('says what is the matter when the server answers with trouble, and works again afterwards', async () => {
    const store = await openS3Store({ ...options(relay.port), bucket: 'trouble', silence_ms: 300 });
    const body = Buffer.alloc(300_000, 5);
    const reason = async (mode: Relay['mode']): Promise<unknown> => {
      relay.mode = mode;
      return store.put('a/b', body).then(() => 'stored', (error: unknown) => (error instanceof StoreUnavailable ? error.reason : error));
    };
    expect(await reason({ status: 503, body: '<Error><Code>SlowDown</Code></Error>' })).toBe('overloaded');
    expect(await reason({ status: 500 })).toBe('overloaded');
    expect(await reason({ status: 507, body: '<Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>' })).toBe('full');
    expect(await reason({ status: 404, body: '<html>no such site</html>' })).toBe('unreachable');
    expect(await reason('swallow')).toBe('unreachable');
    expect(await reason('cut-after-request')).toBe('unreachable');
    relay.mode = 'cut-in-answer';
    await expect(store.get('a/b')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    relay.mode = 'pass';
    expect(await store.put('a/b', body)).toBe('exists'); // the cut one was stored: nothing was known about it, now it is
    await expect(store.put('a/b', Buffer.alloc(300_000, 6))).rejects.toThrow(ObjectConflict);
    await store.close();
  });

  it('is unreachable while the server is down and goes on when it is back', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'virtcft-minio-back-'));
    const first = await startS3Server({ folder });
    const store = await openS3Store({ ...options(first.port), bucket: 'again' });
    await store.put('a/b', Buffer.from('kept'));
    await first.stop();
    await expect(store.get('a/b')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', reason: 'unreachable' });
    await expect(store.put('a/c', Buffer.from('x'))).rejects.toThrow(StoreUnavailable);
    const second = await startS3Server({ folder, port: first.port });
    expect((await store.get('a/b')).toString()).toBe('kept');
    await store.close();
    await second.stop();
    await rm(folder, { recursive: true, force: true });
  });
});
