import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { openStore, StoreUnavailable } from '@virtcft/object-store';
import type { Lab } from './lab.js';
import { LabUnavailable } from './namespaces.js';
import { MANAGEMENT } from './site.js';

const BINARY = join(import.meta.dirname, '..', '..', '..', '.cache', 'bin', 'minio');
const PORT = 9000;
const START_MS = 30_000;
const BUCKET = 'virtcft';

/** A MinIO server of the lab's own, in the site. */
export interface LabBucket {
  /** The store's URL for services in the lab, and for this process. */
  readonly url: string;
  readonly outerUrl: string;
  readonly env: Readonly<Record<string, string>>;
}

export async function startMinio(lab: Lab): Promise<LabBucket> {
  if (!existsSync(BINARY)) throw new LabUnavailable('MinIO is not here: `node libs/object-store/test/s3-server.ts` builds it (Go, some minutes); or use --store dir');
  // A folder below the server's root is a bucket.
  mkdirSync(join(lab.dir, 'minio', BUCKET), { recursive: true });
  const credentials = { AWS_ACCESS_KEY_ID: 'virtcft', AWS_SECRET_ACCESS_KEY: 'virtcft-secret' };
  const program = lab.start(null, {
    name: 'minio', command: [BINARY, 'server', '--quiet', '--address', `${MANAGEMENT.site}:${PORT}`, '--console-address', '127.0.0.1:9001', join(lab.dir, 'minio')],
    env: { HOME: lab.dir, MINIO_ROOT_USER: credentials.AWS_ACCESS_KEY_ID, MINIO_ROOT_PASSWORD: credentials.AWS_SECRET_ACCESS_KEY, MINIO_BROWSER: 'off', MINIO_CI_CD: '1' },
  });
  const outer = await lab.site.forward(MANAGEMENT.site, PORT);
  const outerUrl = `s3+http://127.0.0.1:${outer}/${BUCKET}`;
  for (let waited_ms = 0; !(await opens(outerUrl, credentials)); waited_ms += 100) {
    if (!program.running || waited_ms > START_MS) throw new LabUnavailable(`MinIO does not get ready:\n${program.tail()}`);
    await wait(100);
  }
  return { url: `s3+http://${MANAGEMENT.site}:${PORT}/${BUCKET}`, outerUrl, env: credentials };
}

/** Its health check passes before it can tell who asks: it is ready when the store opens. */
async function opens(url: string, credentials: Readonly<Record<string, string>>): Promise<boolean> {
  try {
    await (await openStore(url, { ...process.env, ...credentials })).close();
    return true;
  } catch (error) {
    if (error instanceof StoreUnavailable) return false;
    throw error;
  }
}
