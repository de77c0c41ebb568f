import { fileURLToPath } from 'node:url';
import { openDirectoryStore } from './directory.js';
import { s3Credentials } from './credentials.js';
import { StoreRefused } from './errors.js';
import { openS3Store } from './s3.js';
import { KeyFile } from './sealed/key-file.js';
import { firstKeyOf, sealedStore } from './sealed/sealed-store.js';
import type { ObjectStore } from './store.js';

/**
 * Opens the store a configuration names: `file:///path`, or `s3+http://host:port/bucket[/prefix]` (`s3+https` with TLS). S3 credentials come
 * from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the file AWS_SHARED_CREDENTIALS_FILE, the region from AWS_REGION.
 * With VIRTCFT_STORE_KEYS_FILE every object is sealed; VIRTCFT_STORE_PLAIN=accept also reads those that are not. Throws StoreRefused for an address of
 * another kind, keys that cannot be used, and a store whose objects are sealed or plain against what is configured.
 */
export async function openStore(url: string, env: Readonly<Record<string, string | undefined>> = process.env): Promise<ObjectStore> {
  const file = env['VIRTCFT_STORE_KEYS_FILE'] || null;
  const keys = file === null ? null : new KeyFile(file);
  const plain = env['VIRTCFT_STORE_PLAIN'] || 'refuse';
  if (plain !== 'refuse' && plain !== 'accept') throw new StoreRefused(`VIRTCFT_STORE_PLAIN: "${plain}" is neither refuse nor accept`);
  const store = await openPlainStore(url, env);
  try {
    await checkFirst(store, keys !== null, plain);
  } catch (error) {
    await store.close();
    throw error;
  }
  return keys === null ? store : sealedStore(store, { keys, plain });
}

/** One look that tells a forgotten key, or a store from before there was one, at the start instead of at the first recovery. */
async function checkFirst(store: ObjectStore, sealing: boolean, plain: 'refuse' | 'accept'): Promise<void> {
  const first = await firstKeyOf(store);
  if (first === null) return;
  if (!sealing && first.id !== null) throw new StoreRefused(`"${first.key}" is sealed with key ${first.id}: give the keys in VIRTCFT_STORE_KEYS_FILE`);
  if (sealing && first.id === null && plain === 'refuse') {
    throw new StoreRefused(`"${first.key}" is not sealed, though VIRTCFT_STORE_KEYS_FILE gives keys: set VIRTCFT_STORE_PLAIN=accept until retention has dropped what is older than the keys (docs/operations/encryption.md)`);
  }
}

async function openPlainStore(url: string, env: Readonly<Record<string, string | undefined>>): Promise<ObjectStore> {
  if (!URL.canParse(url)) throw new StoreRefused(`"${url}" is not an address; write file:///path or s3+http://host:port/bucket`);
  const parsed = new URL(url);
  if (parsed.protocol === 'file:') return openDirectoryStore({ path: fileURLToPath(parsed) });
  if (parsed.protocol !== 's3+http:' && parsed.protocol !== 's3+https:') {
    throw new StoreRefused(`"${parsed.protocol}//" is no kind of store; write file:///path or s3+http://host:port/bucket`);
  }
  const [bucket = '', ...prefix] = parsed.pathname.slice(1).split('/').filter((part) => part !== '');
  if (parsed.hostname === '' || bucket === '') throw new StoreRefused(`"${url}" lacks a host or a bucket; write s3+http://host:port/bucket`);
  if (parsed.username !== '' || parsed.password !== '') throw new StoreRefused('give S3 credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in a file that AWS_SHARED_CREDENTIALS_FILE names, not in the address');
  const useSSL = parsed.protocol === 's3+https:';
  return openS3Store({
    endPoint: parsed.hostname, port: parsed.port === '' ? (useSSL ? 443 : 80) : Number(parsed.port), useSSL, bucket, prefix: prefix.join('/'),
    ...s3Credentials(env), ...(env['AWS_REGION'] ? { region: env['AWS_REGION'] } : {}),
  });
}
