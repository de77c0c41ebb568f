import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Name } from '@virtcft/events';
import { CliError, exit } from '../exit.js';
import { makeCertificates } from '../secrets/certificates.js';
import { planSecrets } from '../secrets/plan.js';
import type { GlobalOptions, Io } from '../session.js';

export interface SecretsOptions extends GlobalOptions { readonly dir: string; readonly hosts: readonly string[]; readonly rotateStoreKey?: boolean }

/** The places inside the containers of docker-compose.yml; on a machine of its own the file is edited. */
const BUS = { host: '0.0.0.0', port: 4222, storeDir: '/data', monitor_port: 8222 } as const;
const STORE_NAMES = ['DNS:minio', 'DNS:localhost', 'IP:127.0.0.1'] as const;

/** Makes what is missing of an installation's secrets in a folder that its owner alone may enter. */
export function secrets(io: Io, options: SecretsOptions): void {
  for (const host of options.hosts) {
    if (!Name.safeParse(host).success) throw new CliError(exit.usage, `"${host}" is no name of a host`, 'use lower-case letters, digits and -');
  }
  mkdirSync(options.dir, { recursive: true, mode: 0o700 });
  chmodSync(options.dir, 0o700);
  const files = planSecrets(options.hosts, BUS, (path) => textIn(join(options.dir, path)), { text: (bytes) => randomBytes(bytes).toString('hex'), bytes: randomBytes }, { rotate: options.rotateStoreKey ?? false, day: new Date().toISOString().slice(0, 10).replaceAll('-', '') });
  for (const { path, content, mode, owner } of files) {
    const to = join(options.dir, path);
    mkdirSync(dirname(to), { recursive: true, mode: 0o755 });
    // Whole or not at all: a cut short password would lock its service out.
    writeFileSync(`${to}.new`, content, { mode: 0o600 });
    chmodSync(`${to}.new`, mode);
    if (owner !== undefined && process.getuid?.() === 0) chownSync(`${to}.new`, owner, owner);
    renameSync(`${to}.new`, to);
  }
  const made = [...files.map(({ path }) => path), ...makeCertificates(options.dir, STORE_NAMES)];
  if (options.output === 'json') io.out(`${JSON.stringify({ folder: options.dir, made })}\n`);
  else io.out(`secrets of hosts ${options.hosts.join(', ')} are in ${options.dir}; written now: ${made.join(' ')}\n`);
}

function textIn(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new CliError(exit.failed, `${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`, 'run this as the owner of the folder', { cause: error });
  }
}
