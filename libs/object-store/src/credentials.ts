import { readFileSync } from 'node:fs';
import { StoreRefused } from './errors.js';

export interface Credentials { readonly accessKey: string; readonly secretKey: string }

/** Two short lines; more is some other file. */
const MAX_BYTES = 16_384;

/**
 * S3 credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or else the section AWS_PROFILE (default `default`) of the file
 * AWS_SHARED_CREDENTIALS_FILE names. Empty when neither is set. Throws StoreRefused for a file that has none.
 */
export function s3Credentials(env: Readonly<Record<string, string | undefined>>): Credentials {
  const given = { accessKey: env['AWS_ACCESS_KEY_ID'] ?? '', secretKey: env['AWS_SECRET_ACCESS_KEY'] ?? '' };
  const path = env['AWS_SHARED_CREDENTIALS_FILE'] ?? '';
  if (given.accessKey !== '' || given.secretKey !== '' || path === '') return given;
  const found = credentialsIn(textOf(path), env['AWS_PROFILE'] || 'default');
  if (found === null) throw new StoreRefused(`AWS_SHARED_CREDENTIALS_FILE: ${path} has no aws_access_key_id and aws_secret_access_key in its section [${env['AWS_PROFILE'] || 'default'}]; write both there`);
  return found;
}

function textOf(path: string): string {
  try {
    const bytes = readFileSync(path);
    if (bytes.length > MAX_BYTES) throw new StoreRefused(`AWS_SHARED_CREDENTIALS_FILE: ${path} has ${bytes.length} bytes, and credentials at most ${MAX_BYTES}; give the right file`);
    return bytes.toString('utf8');
  } catch (error) {
    if (error instanceof StoreRefused) throw error;
    throw new StoreRefused(`AWS_SHARED_CREDENTIALS_FILE: ${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'}); create it, readable by this service`, error);
  }
}

/** Both keys of one section of a credentials file, or null. */
export function credentialsIn(text: string, profile: string): Credentials | null {
  const keys = new Map<string, string>();
  let section = '';
  for (const line of text.split('\n').map((each) => each.trim())) {
    const header = /^\[([^\]]+)\]$/.exec(line)?.[1];
    if (header !== undefined) section = header.trim();
    const [, key, value] = /^(aws_[a-z_]+)\s*=\s*(\S+)$/.exec(line) ?? [];
    if (section === profile && key !== undefined && value !== undefined) keys.set(key, value);
  }
  const [accessKey, secretKey] = [keys.get('aws_access_key_id'), keys.get('aws_secret_access_key')];
  return accessKey === undefined || secretKey === undefined ? null : { accessKey, secretKey };
}
