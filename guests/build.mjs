// Builds the small guests from distribution packages: .cache/guests/<hash of this folder>/{vmlinuz,bank.cpio,redis.cpio}, and points
// .cache/guests/current at it. usage: node guests/build.mjs
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { writeCpio } from './cpio.mjs';
import { buildKernel } from './kernel.mjs';
import { unpackWithDependencies } from './packages.mjs';
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

function compile(name, work) {
  const out = join(work, name);
  execFileSync('gcc', ['-std=gnu17', '-O2', '-Wall', '-Wextra', '-Werror', '-static', '-pthread', '-s', '-o', out, `${name}.c`, 'control.c'], { cwd: join(here, 'src'), stdio: 'inherit' });
  return { [`bin/${name}`]: { from: out, executable: true } };
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
        proc: { directory: true }, sys: { directory: true }, dev: { directory: true }, tmp: { directory: true },
        ...kernel.files, ...compile('bank', work), ...compile('pattern', work),
      };
      writeCpio(join(made, 'bank.cpio'), base);
      writeCpio(join(made, 'redis.cpio'), { ...base, ...programFiles(root, 'usr/bin/redis-server') });
      writeFileSync(join(made, 'packages.txt'), [...kernel.packages, ...packages].join('\n') + '\n');
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
