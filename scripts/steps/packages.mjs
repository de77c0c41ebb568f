// Packages of the distribution that building and running need.
import { existsSync } from 'node:fs';
import { StepFailed, runAsRoot, say, which } from './shell.mjs';

// package -> what shows that it is there; a list means any of them
const WANTED = {
  'qemu-system-x86': ['qemu-system-x86_64'],
  'g++': ['g++'],
  gcc: ['gcc'],
  'libc6-dev': ['/usr/include/stdio.h'],
  make: ['make'],
  python3: ['python3'],
  binutils: ['readelf'],
  'libzstd-dev': ['/usr/include/zstd.h'],
  'libsodium-dev': ['/usr/include/sodium.h'],
  iproute2: ['ip'],
  ethtool: ['ethtool'],
  'iputils-ping': ['ping'],
  'util-linux': ['nsenter'],
  procps: ['ps'],
  'qemu-utils': ['qemu-img'], // qemu-nbd to measure against, qemu-img and qemu-io in tests
  git: ['git'],
  'ca-certificates': ['/etc/ssl/certs/ca-certificates.crt'],
  'xz-utils': ['xz'],
  zstd: ['zstd'],
  lz4: ['lz4'], // what the distribution's cloud kernel is packed with
  e2fsprogs: ['/usr/sbin/mke2fs', '/sbin/mke2fs', 'mke2fs'],
};

export function missingPackages() {
  return Object.entries(WANTED).filter(([, signs]) => !signs.some((sign) => (sign.startsWith('/') ? existsSync(sign) : which(sign)))).map(([name]) => name);
}

export function installPackages() {
  const missing = missingPackages();
  if (missing.length === 0) return;
  if (!which('apt-get')) throw new StepFailed(`this set-up knows Debian and Ubuntu (apt-get). Install what these packages hold by your own means: ${missing.join(' ')}`);
  say(`installing packages of the distribution: ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const advice = 'Look at the lines above: are the package sources reachable (/etc/apt)?';
  runAsRoot('apt-get', ['-qq', 'update'], { env, advice });
  runAsRoot('apt-get', ['-qq', '-o', 'Dpkg::Use-Pty=0', 'install', '-y', '--no-install-recommends', ...missing], { env, advice, stdio: ['ignore', 'ignore', 'inherit'] });
}

/** The guests are unpacked from packages, so apt's lists must be there even when nothing was to be installed. */
export function refreshPackageLists() {
  runAsRoot('apt-get', ['-qq', 'update'], { advice: 'Are the package sources reachable (/etc/apt)?' });
}
