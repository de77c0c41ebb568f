// Object stores of others for the tests and the lab. There are no binaries of MinIO's community edition any more, so it is built, once, in some minutes.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bringGo } from './go.mjs';
import { nodeEnvironment } from './node.mjs';
import { cache, run, say } from './shell.mjs';

// The server's last commit, and its client of the same time; docker/minio/Dockerfile has the same.
const SERVER = 'github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c';
const CLIENT = 'github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9';
// A second server, which shares no code with MinIO: what the S3 adapter promises must not hold by one server's habits.
const OTHER = 'github.com/versity/versitygw/cmd/versitygw@v1.8.0';

/** MinIO and its client, which makes users. */
export function bringMinio() {
  bringProgram('minio', 'MinIO', SERVER);
  bringProgram('mc', 'MinIO\'s client', CLIENT);
}

/** What the tests of the S3 adapter run against, beside MinIO. */
export function bringOtherS3() {
  bringProgram('versitygw', 'the Versity S3 Gateway', OTHER);
}

function bringProgram(name, called, module) {
  if (existsSync(join(cache, 'bin', name))) return;
  const go = bringGo();
  say(`building ${called} with Go (some minutes, once)`);
  const env = nodeEnvironment();
  run('nice', ['-n', '15', go, 'install', '-trimpath', '-ldflags=-s -w', module], { env: { ...env, PATH: `${dirname(go)}:${env.PATH}`, GOBIN: join(cache, 'bin'), CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false' }, advice: 'Is the Go module proxy reachable?' });
}
