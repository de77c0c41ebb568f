import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect } from '@nats-io/transport-node';

/** What set-up brought, or the machine's own. */
const brought = fileURLToPath(new URL('../../../.cache/bin/nats-server', import.meta.url));
const binary = process.env['VIRTCFT_NATS_SERVER'] ?? (existsSync(brought) ? brought : 'nats-server');

/** A real nats-server of its own for a test file. */
export class TestServer {
  #child: ChildProcess | undefined;

  private constructor(readonly port: number, readonly folder: string, private readonly config: string) {}

  static async start(render?: (at: { port: number; storeDir: string }) => string): Promise<TestServer> {
    const folder = await mkdtemp(join(tmpdir(), 'virtcft-bus-'));
    const at = { port: await freePort(), storeDir: join(folder, 'store') };
    const config = join(folder, 'nats.conf');
    await writeFile(config, render?.(at) ?? `listen: "127.0.0.1:${at.port}"\njetstream { store_dir: "${at.storeDir}", max_file_store: 4GB }\n`);
    const server = new TestServer(at.port, folder, config);
    await server.run();
    return server;
  }

  get url(): string { return `nats://127.0.0.1:${this.port}`; }

  async run(): Promise<void> {
    const child = spawn(binary, ['-c', this.config], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => { said += chunk.toString(); });
    const failed = once(child, 'error').then(([error]) => { throw error as Error; });
    const ready = (async () => { while (!said.includes('Server is ready')) { if (child.exitCode !== null) throw new Error(said); await new Promise((resolve) => setTimeout(resolve, 10)); } })();
    await Promise.race([ready, failed]);
  }

  /** As a crash: nothing is flushed. Its files stay. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  /** It stands still: connections stay, and nothing answers. */
  freeze(): void { this.#child?.kill('SIGSTOP'); }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** A plain client, for what the bus would never do. */
  raw(user?: { user: string; pass: string }): ReturnType<typeof connect> { return connect({ servers: this.url, ...user }); }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
