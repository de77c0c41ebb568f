// Packages of another suite of Debian (most often sid), unpacked and not installed: resolved through the signed index with sources and state of their own, so that the
// machine's apt knows nothing of it.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { output } from './shell.mjs';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * Unpacks what `choose` (given a function that asks for a package's dependencies) names, and calls `use` with the folder. Returns what `use`
 * returns, or the reason why the packages cannot be had.
 */
export function withPackagesOf(suite, choose, use) {
  if (!existsSync(KEYRING)) return 'the key ring of Debian is not installed (package debian-archive-keyring)';
  const work = mkdtempSync(join(tmpdir(), 'virtcft-sid-'));
  try {
    for (const folder of ['lists/partial', 'archives/partial']) mkdirSync(join(work, folder), { recursive: true });
    writeFileSync(join(work, 'sources.list'), `deb [signed-by=${KEYRING}] http://deb.debian.org/debian ${suite} main\n`);
    writeFileSync(join(work, 'status'), '');
    const options = [`Dir::Etc::sourcelist=${join(work, 'sources.list')}`, 'Dir::Etc::sourceparts=-', `Dir::State::lists=${join(work, 'lists')}`,
      `Dir::State::status=${join(work, 'status')}`, `Dir::Cache=${work}`, 'APT::Sandbox::User=root', 'Acquire::Languages=none', 'APT::Architecture=amd64', 'APT::Architectures=amd64']
      .flatMap((option) => ['-o', option]);
    if (output('apt-get', [...options, '-qq', 'update']) === null) return `the index of Debian ${suite} cannot be had`;
    const dependencies = (name) => [...(output('apt-cache', [...options, 'depends', name]) ?? '').matchAll(/Depends: (\S+)/g)].map((found) => found[1]);
    const names = choose(dependencies);
    if (names.length === 0 || output('apt-get', [...options, '-qq', 'download', ...names], { cwd: work }) === null) return `the packages ${names.join(', ')} of Debian ${suite} cannot be had`;
    for (const deb of readdirSync(work).filter((file) => file.endsWith('.deb'))) {
      if (output('dpkg', ['-x', join(work, deb), join(work, 'root')]) === null) return `${deb} cannot be unpacked`;
    }
    return use(join(work, 'root'));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export const withPackagesOfSid = (choose, use) => withPackagesOf('sid', choose, use);
