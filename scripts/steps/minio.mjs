// MinIO for the tests of the S3 adapter. There are no binaries of its community edition any more, so it is built, once, in some minutes.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bringGo } from './go.mjs';
import { nodeEnvironment } from './node.mjs';
import { cache, run, say } from './shell.mjs';

export function bringMinio() {
  if (existsSync(join(cache, 'bin', 'minio'))) return;
  const go = bringGo();
  say('building MinIO with Go for the tests of the S3 adapter (some minutes, once)');
  const env = nodeEnvironment();
  run('node', ['--no-warnings', 'libs/object-store/test/s3-server.ts'], { env: { ...env, PATH: `${dirname(go)}:${env.PATH}` }, stdio: ['ignore', 'ignore', 'inherit'], advice: 'Is the Go module proxy reachable?' });
}
