import { fileURLToPath } from 'node:url';
import { openDirectoryStore } from './directory.js';
import { s3Credentials } from './credentials.js';
import { StoreRefused } from './errors.js';
import { openS3Store } from './s3.js';
import type { ObjectStore } from './store.js';

/**
 * Opens the store a configuration names: `file:///path`, or `s3+http://host:port/bucket[/prefix]` (`s3+https` with TLS). S3 credentials come
 * from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the file AWS_SHARED_CREDENTIALS_FILE, the region from AWS_REGION. Throws StoreRefused for an address of another kind.
 */
export async function openStore(url: string, env: Readonly<Record<string, string | undefined>> = process.env): Promise<ObjectStore> {
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
