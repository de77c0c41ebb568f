import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import tls from 'node:tls';
import { openStore, StoreUnavailable } from '@virtcft/object-store';
import { command } from './command.js';
import type { Lab } from './lab.js';
import { LabUnavailable } from './namespaces.js';
import type { Program } from './program.js';

const root = join(import.meta.dirname, '..', '..', '..');
const BINARY = join(root, '.cache', 'bin', 'minio');
const CLIENT = join(root, '.cache', 'bin', 'mc');
const CLI = join(root, 'apps', 'cli', 'dist', 'main.js');
/** Rights of the services' users, and the script that makes them: those of docker-compose.yml. */
const POLICIES = join(root, 'docker', 'minio');
const PORT = 9000;
const START_MS = 30_000;
const BUCKET = 'virtcft';

/** Services that have a user of their own in the store. */
export type StoreUser = 'coordinator' | 'replica-store';

export interface LabMinioOptions {
  /** Folder that it keeps its data in; default: one of the lab's. */
  readonly data?: string;
  /** Whether the replica store may remove objects, as it must where a cluster has a retention. */
  readonly removal?: boolean;
}

/** A MinIO server in the site, as docker-compose.yml has it: TLS by an authority of its own, a user for each service with the rights it needs and no others. */
export class LabMinio {
  private constructor(private readonly lab: Lab, private readonly secrets: string, private readonly data: string, private readonly outer: number, private program: Program) {}

  /** Throws LabUnavailable. */
  static async start(lab: Lab, { data = join(lab.dir, 'minio'), removal = false }: LabMinioOptions = {}): Promise<LabMinio> {
    for (const path of [BINARY, CLIENT]) if (!existsSync(path)) throw new LabUnavailable(`${path} is missing: \`npm run demo -- --store minio\` builds it (Go, some minutes, once); or use --store dir`);
    const secrets = join(lab.dir, 'secrets');
    await command([process.execPath, CLI, 'secrets', '--dir', secrets, '--hosts', 'none']);
    mkdirSync(data, { recursive: true });
    mkdirSync(join(secrets, 'certs'));
    symlinkSync('../tls/minio.crt', join(secrets, 'certs', 'public.crt'));
    symlinkSync('../tls/minio.key', join(secrets, 'certs', 'private.key'));
    // This process reads the store, too; Node reads NODE_EXTRA_CA_CERTS only when it starts.
    tls.setDefaultCACertificates([...tls.getCACertificates('default'), readFileSync(join(secrets, 'tls', 'ca.crt'), 'utf8')]);
    const minio = new LabMinio(lab, secrets, data, await lab.site.forward('127.0.0.1', PORT), LabMinio.run(lab, secrets, data));
    await minio.opens();
    await minio.allowRemoval(removal);
    return minio;
  }

  private static run(lab: Lab, secrets: string, data: string): Program {
    // On every address of the site, which nothing outside the lab reaches.
    return lab.start(null, {
      name: 'minio', command: [BINARY, 'server', '--quiet', '--certs-dir', join(secrets, 'certs'), '--address', `:${PORT}`, '--console-address', '127.0.0.1:9001', data],
      env: { HOME: lab.dir, MINIO_ROOT_USER_FILE: join(secrets, 'store', 'root.user'), MINIO_ROOT_PASSWORD_FILE: join(secrets, 'store', 'root.password'), MINIO_BROWSER: 'off', MINIO_CI_CD: '1', MINIO_UPDATE: 'off' },
    });
  }

  /** The store's URL for services in the site, and for this process. */
  readonly url = `s3+https://127.0.0.1:${PORT}/${BUCKET}`;
  get outerUrl(): string { return `s3+https://127.0.0.1:${this.outer}/${BUCKET}`; }

  /** For a service in the site, or for this process in its name. */
  environment(user: StoreUser): Record<string, string> {
    return { AWS_SHARED_CREDENTIALS_FILE: join(this.secrets, 'store', `${user}.credentials`), NODE_EXTRA_CA_CERTS: join(this.secrets, 'tls', 'ca.crt') };
  }

  private rootCredentials(): Record<string, string> {
    const reads = (name: string): string => readFileSync(join(this.secrets, 'store', name), 'utf8').trim();
    return { AWS_ACCESS_KEY_ID: reads('root.user'), AWS_SECRET_ACCESS_KEY: reads('root.password') };
  }

  /** Makes the bucket and the services' users with their rights, by the script of docker-compose.yml: as `docker compose run minio-provision`, with and without VIRTCFT_STORE_REMOVAL. */
  async allowRemoval(removal: boolean): Promise<void> {
    const env = {
      VIRTCFT_STORE_SECRETS: `${join(this.secrets, 'store')}/`, VIRTCFT_STORE_POLICIES: POLICIES, VIRTCFT_STORE_SERVER: `127.0.0.1:${PORT}`, VIRTCFT_STORE_REMOVAL: removal ? 'yes' : '',
      SSL_CERT_FILE: join(this.secrets, 'tls', 'ca.crt'), MC_CONFIG_DIR: join(this.lab.dir, 'mc'), PATH: `${join(root, '.cache', 'bin')}:${process.env['PATH'] ?? ''}`,
    };
    await this.lab.exec(null, ['env', ...Object.entries(env).map(([name, value]) => `${name}=${value}`), 'sh', join(POLICIES, 'provision')]);
  }

  /** Its health check passes before it can tell who asks: it is ready when the store opens, at a place where nothing lies, for what it holds may be sealed. */
  private async opens(): Promise<void> {
    for (let waited_ms = 0; ; waited_ms += 100) {
      try {
        await (await openStore(`${this.outerUrl}/nothing`, this.rootCredentials())).close();
        return;
      } catch (error) {
        if (!(error instanceof StoreUnavailable)) throw error;
      }
      if (!this.program.running || waited_ms > START_MS) throw new LabUnavailable(`MinIO does not get ready:\n${this.program.tail()}`);
      await wait(100);
    }
  }

  /** As a crash of its process: what it had not made durable is gone. */
  async kill(): Promise<void> {
    this.program.signal('SIGKILL');
    await this.program.ended;
  }

  /** Again, on the same data; returns when it answers. */
  async startAgain(): Promise<void> {
    this.program = LabMinio.run(this.lab, this.secrets, this.data);
    await this.opens();
  }

  /** It stands still until `thaw`: connections stay, and nothing answers. */
  freeze(): void { this.program.signal('SIGSTOP'); }
  thaw(): void { this.program.signal('SIGCONT'); }

  async stop(): Promise<void> { await this.program.stop(); }
}
