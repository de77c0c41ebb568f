import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CliError, exit } from '../exit.js';

const CA_DAYS = '3650';
const SERVER_DAYS = '825'; // what TLS libraries accept at most of a private authority

/**
 * An authority of the installation's own and the object store's certificate by it, in `tls/`. Kept when both are there; to renew the store's
 * remove `minio.crt` and run again. Throws CliError.
 */
export function makeCertificates(folder: string, names: readonly string[]): string[] {
  const tls = join(folder, 'tls');
  mkdirSync(tls, { recursive: true, mode: 0o755 });
  const path = (name: string): string => join(tls, name);
  const made: string[] = [];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  if (!existsSync(path('ca.crt')) || !existsSync(path('ca.key'))) {
    openssl(['req', '-x509', ...key, '-days', CA_DAYS, '-subj', '/CN=VirtCFT installation', '-keyout', path('ca.key'), '-out', path('ca.crt'),
      '-addext', 'keyUsage=critical,keyCertSign,cRLSign']);
    // A certificate of another authority would be refused.
    rmSync(path('minio.crt'), { force: true });
    made.push('tls/ca.crt', 'tls/ca.key');
  }
  if (!existsSync(path('minio.crt'))) {
    const [request, extensions] = [path('minio.csr'), path('minio.ext')];
    openssl(['req', ...key, '-subj', '/CN=minio', '-keyout', path('minio.key'), '-out', request]);
    writeFileSync(extensions, `basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=${names.join(',')}\n`);
    openssl(['x509', '-req', '-in', request, '-CA', path('ca.crt'), '-CAkey', path('ca.key'), '-CAcreateserial', '-days', SERVER_DAYS, '-extfile', extensions, '-out', path('minio.crt')]);
    for (const left of [request, extensions]) rmSync(left);
    made.push('tls/minio.crt', 'tls/minio.key');
  }
  chmodSync(path('ca.key'), 0o600);
  for (const name of ['ca.crt', 'minio.crt', 'minio.key']) chmodSync(path(name), 0o444);
  return made;
}

function openssl(args: readonly string[]): void {
  try {
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new CliError(exit.failed, 'openssl is not installed; certificates are made with it', 'install the package openssl', { cause: error });
    throw new CliError(exit.failed, `openssl ${args[0] ?? ''} failed: ${String((error as { stderr?: Buffer }).stderr ?? error).trim()}`, 'is the folder writable?', { cause: error });
  }
}
