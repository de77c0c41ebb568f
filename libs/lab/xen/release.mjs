// Which Xen a machine's own distribution has: the hypervisor and dom0's kernel come from this machine's apt, so dom0's tools must be of the same release.
import { readFileSync } from 'node:fs';

const DEBIAN = { bookworm: { xen: '4.17' }, trixie: { xen: '4.20' } };

/** The machine's distribution is none whose Xen the lab knows; `message` says what to do. */
export class NoXenHere extends Error {}

/**
 * `text`: of /etc/os-release. Returns { suite, sources, xen }: the release's name, its package sources and the version of its Xen.
 * NoXenHere for any other: Ubuntu's kernels keep what dom0 needs in several packages, and nobody has tried them.
 */
export function releaseOf(text) {
  const fields = Object.fromEntries([...text.matchAll(/^([A-Z_]+)="?([^"\n]*)"?$/gm)].map(([, name, value]) => [name, value]));
  const suite = fields.VERSION_CODENAME ?? '';
  const known = fields.ID === 'debian' && Object.hasOwn(DEBIAN, suite) ? DEBIAN[suite] : null;
  if (known === null) throw new NoXenHere(`the Xen lab is built from Debian 12 or 13, and this is ${fields.PRETTY_NAME ?? 'no known distribution'}: use a machine or a container (privileged) with one of them`);
  return { suite, xen: known.xen, sources: [`deb http://deb.debian.org/debian ${suite} main`, `deb http://deb.debian.org/debian-security ${suite}-security main`] };
}

export function releaseHere() {
  return releaseOf(readFileSync('/etc/os-release', 'utf8'));
}
