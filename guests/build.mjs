// Builds the small guests from distribution packages: .cache/guests/<hash of this folder>/{vmlinuz,vmlinux,bank.cpio,redis.cpio,database.cpio,
// database.img,blocks.img}, and points .cache/guests/current at it. usage: node guests/build.mjs
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { writeCpio } from './cpio.mjs';
import { emptyDisk, filesystemDisk } from './disks.mjs';
import { buildKernel } from './kernel.mjs';
import { unpack, unpackWithDependencies } from './packages.mjs';
import { programFiles } from './programs.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const cache = join(here, '..', '.cache', 'guests');
const APPLETS = ['sh', 'mount', 'insmod', 'ip', 'sleep', 'cat', 'ls', 'ps', 'free', 'dmesg'];

function sources(folder = here) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((item) => (item.isDirectory() ? sources(join(folder, item.name)) : [join(folder, item.name)]))
    .filter((file) => !file.endsWith('.md')).sort();
}

/** Hash of everything that the guests are made of in this repository. */
export function guestsHash() {
  const hash = createHash('sha256');
  for (const file of sources()) hash.update(`${relative(here, file)}\0`).update(readFileSync(file)).update('\0');
  return hash.digest('hex').slice(0, 16);
}

export function guestsAreBuilt() {
  return existsSync(join(cache, guestsHash(), 'packages.txt'));
}

/** A daemon of ours, linked with everything it needs: `more` are further sources and libraries. */
function compile(name, work, more = []) {
  const out = join(work, name);
  // Linkers warn of dlopen in a static program, which nothing here calls: said only when it fails.
  execFileSync('gcc', ['-std=gnu17', '-O2', '-Wall', '-Wextra', '-Werror', '-static', '-pthread', '-s', '-o', out, `${name}.c`, 'control.c', ...more], { cwd: join(here, 'src'), stdio: ['ignore', 'inherit', 'pipe'] });
  return { [`bin/${name}`]: { from: out, executable: true } };
}

/** SQLite as the distribution packages it for linking. */
function sqlite(work) {
  const root = join(work, 'sqlite');
  const packages = unpack(['libsqlite3-dev'], work, root);
  const library = ['usr/lib/x86_64-linux-gnu/libsqlite3.a', 'usr/lib/libsqlite3.a'].map((path) => join(root, path)).find(existsSync);
  if (!library) throw new Error('libsqlite3-dev holds no library to link with');
  return { packages, link: ['-I', join(root, 'usr/include'), library, '-lm'] };
}

export function buildGuests() {
  mkdirSync(cache, { recursive: true });
  const out = join(cache, guestsHash());
  if (!guestsAreBuilt()) {
    const work = mkdtempSync(join(cache, 'work-'));
    try {
      const made = join(work, 'out');
      mkdirSync(made);
      const kernel = buildKernel(work, made);
      const root = join(work, 'root');
      const packages = unpackWithDependencies(['redis-server', 'busybox-static'], work, root);
      const busybox = ['bin/busybox', 'usr/bin/busybox'].map((path) => join(root, path)).find(existsSync);
      const base = {
        init: { from: join(here, 'init'), executable: true },
        'bin/busybox': { from: busybox, executable: true },
        ...Object.fromEntries(APPLETS.map((applet) => [`bin/${applet}`, { link: 'busybox' }])),
        proc: { directory: true }, sys: { directory: true }, dev: { directory: true }, tmp: { directory: true }, data: { directory: true },
        ...kernel.files, ...compile('bank', work, ['links.c']), ...compile('pattern', work), ...compile('vector', work, ['history.c', 'links.c']),
      };
      const library = sqlite(work);
      writeCpio(join(made, 'bank.cpio'), base);
      writeCpio(join(made, 'redis.cpio'), { ...base, ...programFiles(root, 'usr/bin/redis-server') });
      writeCpio(join(made, 'database.cpio'), { ...base, ...kernel.filesystem, ...compile('database', work, library.link), ...compile('blocks', work) });
      filesystemDisk(join(made, 'database.img'), work);
      emptyDisk(join(made, 'blocks.img'));
      writeFileSync(join(made, 'packages.txt'), [...kernel.packages, ...packages, ...library.packages].join('\n') + '\n');
      rmSync(out, { recursive: true, force: true });
      renameSync(made, out);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  const pointer = join(cache, `current-${process.pid}`);
  symlinkSync(guestsHash(), pointer);
  renameSync(pointer, join(cache, 'current'));
  return out;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) console.log(buildGuests());
