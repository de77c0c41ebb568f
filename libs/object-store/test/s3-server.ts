import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { access, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client } from 'minio';

/** The last commit of MinIO's community edition; there are no binaries of it any more, so it is built (about three minutes on two cores). */
const module = 'github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c';
const binaries = resolve(dirname(fileURLToPath(import.meta.url)), '../../../.cache/bin');

export interface S3Server {
  readonly endPoint: '127.0.0.1';
  readonly port: number;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly pid: number;
  /** Ends it and removes its data unless the folder was given. */
  stop(): Promise<void>;
}

/** The path of MinIO's binary, built into the repository's cache when it is not there. */
export async function s3ServerBinary(): Promise<string> {
  const path = join(binaries, 'minio');
  try {
    await access(path);
    return path;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  await mkdir(binaries, { recursive: true });
  const env = { ...process.env, GOBIN: binaries, CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false', PATH: `${process.env['PATH']}:/usr/local/go/bin` };
  await promisify(execFile)('nice', ['-n', '15', 'go', 'install', '-trimpath', '-ldflags=-s -w', module], { env });
  return path;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

/** A real MinIO on loopback with one folder. Given `folder` and `port`, an earlier server's data and address are taken up again. */
export async function startS3Server(options: { folder?: string; port?: number } = {}): Promise<S3Server> {
  const binary = await s3ServerBinary();
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'virtcft-minio-')));
  const port = options.port ?? (await freePort());
  const credentials = { accessKey: 'virtcft', secretKey: 'virtcft-secret' };
  const child = spawn(binary, ['server', '--quiet', '--address', `127.0.0.1:${port}`, '--console-address', `127.0.0.1:${await freePort()}`, folder], {
    env: { PATH: process.env['PATH'], HOME: folder, MINIO_ROOT_USER: credentials.accessKey, MINIO_ROOT_PASSWORD: credentials.secretKey, MINIO_BROWSER: 'off', MINIO_CI_CD: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => said.push(chunk.toString()));
  await ready(child, new Client({ endPoint: '127.0.0.1', port, useSSL: false, ...credentials }), said);
  return {
    endPoint: '127.0.0.1', port, ...credentials, pid: child.pid as number,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = new Promise((done) => child.once('exit', done));
        child.kill('SIGTERM');
        const forced = setTimeout(() => child.kill('SIGKILL'), 5_000);
        await ended;
        clearTimeout(forced);
      }
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Its health check passes before it can tell who asks, so what counts is a signed request. */
async function ready(child: ChildProcess, client: Client, said: readonly string[]): Promise<void> {
  let last: unknown = null;
  for (let attempt = 0; attempt < 300; attempt++) {
    if (child.exitCode !== null) throw new Error(`minio ended with ${child.exitCode}: ${said.join('')}`);
    try {
      await client.listBuckets();
      return;
    } catch (error) {
      last = error;
    }
    await delay(100);
  }
  child.kill('SIGKILL');
  throw new Error(`minio did not get ready: ${said.join('')}`, { cause: last });
}

// node libs/object-store/test/s3-server.ts: builds the binary if needed and prints its path.
if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(await s3ServerBinary());
