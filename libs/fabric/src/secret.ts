import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';

import { LIMITS } from './limits.js';

/** The file with the tunnels' secret is not there, or not safe; the message says how to make one. */
export class SecretUnusable extends Error {
  override readonly name = 'SecretUnusable';
}

const OTHERS = 0o077;

/**
 * The shared secret of a cluster's hosts, from a file that its owner alone may read. Throws SecretUnusable. The file is looked at through the
 * descriptor that is read, so that it cannot be exchanged in between.
 */
export function readSecret(path: string): Buffer {
  const advice = `Make one with \`(umask 077; head -c 32 /dev/urandom > ${path})\` on one host and copy it to the others`;
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    throw new SecretUnusable(`the tunnel secret ${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'}). ${advice}`, { cause: error });
  }
  try {
    const found = fstatSync(file);
    const { mode, size } = found;
    const { secret_bytes_least: least, secret_bytes_most: most } = LIMITS;
    if ((mode & OTHERS) !== 0) throw new SecretUnusable(`the tunnel secret ${path} may be read by others (mode ${(mode & 0o777).toString(8)}): \`chmod 600 ${path}\`, or better a new one, for they may have done so. ${advice}`);
    if (!found.isFile()) throw new SecretUnusable(`the tunnel secret ${path} is not a file. ${advice}`);
    if (size < least || size > most) throw new SecretUnusable(`the tunnel secret ${path} has ${size} bytes: it must have ${least} to ${most}. ${advice}`);
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}
