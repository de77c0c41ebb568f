import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { access, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client } from 'minio';

/** Where `npm test` builds the servers by Go. */
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

/** Real servers: MinIO, and a gateway to a folder that shares no code with it. */
export type S3ServerKind = 'minio' | 'versitygw';

const CREDENTIALS = { accessKey: 'virtcft', secretKey: 'virtcft-secret' } as const;

interface Launch { readonly args: readonly string[]; readonly env: Readonly<Record<string, string>> }

const launches: Record<S3ServerKind, (folder: string, port: number) => Promise<Launch>> = {
  minio: async (folder, port) => ({
    args: ['server', '--quiet', '--address', `127.0.0.1:${port}`, '--console-address', `127.0.0.1:${await freePort()}`, folder],
    env: { MINIO_ROOT_USER: CREDENTIALS.accessKey, MINIO_ROOT_PASSWORD: CREDENTIALS.secretKey, MINIO_BROWSER: 'off', MINIO_CI_CD: '1' },
  }),
  versitygw: (folder, port) => Promise.resolve({
    // The attributes of objects beside them: not every file system of a test machine keeps extended ones.
    args: ['--port', `127.0.0.1:${port}`, '--quiet', '--keep-alive', 'posix', '--sidecar', `${folder}/attributes`, `${folder}/objects`],
    env: { ROOT_ACCESS_KEY: CREDENTIALS.accessKey, ROOT_SECRET_KEY: CREDENTIALS.secretKey },
  }),
};

/** The path of a server's program. Throws where it is not: a suite that needs it must fail, not pass by. */
async function programOf(kind: S3ServerKind): Promise<string> {
  const path = join(binaries, kind);
  await access(path).catch((error: unknown) => {
    throw new Error(`${path} is missing: \`npm test\` builds it once, with Go 1.21 or newer (it brings one where it can) and the Go module proxy; this suite needs that server and cannot be left out`, { cause: error });
  });
  return path;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

/** A real server on loopback with one folder. Given `folder` and `port`, an earlier server's data and address are taken up again. */
export async function startS3Server(options: { kind?: S3ServerKind; folder?: string; port?: number } = {}): Promise<S3Server> {
  const kind = options.kind ?? 'minio';
  const program = await programOf(kind);
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), `virtcft-${kind}-`)));
  for (const part of ['attributes', 'objects']) if (kind === 'versitygw') await mkdir(join(folder, part), { recursive: true });
  const port = options.port ?? (await freePort());
  const credentials = CREDENTIALS;
  const { args, env } = await launches[kind](folder, port);
  const child = spawn(program, args, { cwd: folder, env: { PATH: process.env['PATH'], HOME: folder, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
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
    if (child.exitCode !== null) throw new Error(`the S3 server ended with ${child.exitCode}: ${said.join('')}`);
    try {
      await client.listBuckets();
      return;
    } catch (error) {
      last = error;
    }
    await delay(100);
  }
  child.kill('SIGKILL');
  throw new Error(`the S3 server did not get ready: ${said.join('')}`, { cause: last });
}
