// Distribution packages, fetched and unpacked without being installed, through apt's own signed indexes.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const run = (command, args, options = {}) => execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 26, ...options });

/** Names of the packages that `names` need, itself included, as on an empty machine. */
function closure(names, work) {
  const status = join(work, 'empty-status');
  writeFileSync(status, '');
  // debconf and perl are for installation scripts, which never run here.
  const uris = run('apt-get', ['-o', `Dir::State::status=${status}`, '-o', 'Debug::NoLocking=1', '--no-install-recommends', '-y', '--print-uris', 'install', ...names]);
  return [...uris.matchAll(/^'[^']+' ([^_]+)_/gm)].map((found) => found[1]).filter((name) => !/perl|debconf|adduser|passwd|usrmerge|^libpam|^libse/.test(name));
}

/** Fetches `names` with what they need into `work` and unpacks all into `root`. Returns the file names of the packages. */
export function unpackWithDependencies(names, work, root) {
  return unpack(closure(names, work), work, root);
}

/** Fetches exactly `names` and unpacks them into `root`. */
export function unpack(names, work, root) {
  const debs = join(work, `debs-${names[0]}`);
  mkdirSync(debs, { recursive: true });
  mkdirSync(root, { recursive: true });
  // apt warns that its own user cannot write here; as root it then fetches as root.
  run('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', ...names], { cwd: debs });
  const files = readdirSync(debs).filter((file) => file.endsWith('.deb')).sort();
  for (const file of files) run('dpkg', ['-x', join(debs, file), root]);
  return files;
}

/** The package that apt would install for one of `names`, the first that exists. */
export function firstAvailable(names) {
  const found = names.find((name) => /^ {2}Candidate: (?!\(none\))/m.test(run('apt-cache', ['policy', name])));
  if (!found) throw new Error(`none of the packages ${names.join(', ')} is known to apt: run apt-get update, or add the distribution's main archive to its sources`);
  return found;
}

export function dependencies(name, pattern) {
  return [...run('apt-cache', ['depends', name]).matchAll(/Depends: (\S+)/g)].map((found) => found[1]).filter((dependency) => pattern.test(dependency));
}
