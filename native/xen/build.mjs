// Builds native/build/xen/virtcft-xen: one file that runs in any dom0 of Xen 4.17, needing only its C library there. usage: node native/xen/build.mjs
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, '..', 'build', 'xen');
const FLAGS = ['-std=gnu++20', '-O2', '-Wall', '-Wextra', '-pthread'];

const sources = (folder, ending) => readdirSync(folder).filter((name) => name.endsWith(ending)).map((name) => join(folder, name));
const src = join(here, '..', 'src');
const CORE = [...['image.cc', 'layer.cc'].map((name) => join(src, 'memory', name)), ...sources(join(src, 'section'), '.cc').filter((name) => !name.endsWith('binding.cc'))];
const newest = (files) => Math.max(...files.map((file) => statSync(file).mtimeMs));

/** Path of the program. Error when Xen's headers are missing: the Debian package libxen-dev has them. */
export function buildXenProgram() {
  if (!existsSync('/usr/include/xenctrl.h')) throw new Error('Xen\'s headers are missing: apt-get install libxen-dev (Debian 12, Ubuntu 24.04)');
  mkdirSync(out, { recursive: true });
  const headers = newest([here, join(here, '../src/memory'), join(here, '../src/section')].flatMap((folder) => sources(folder, '.h')));
  const objects = [...sources(here, '.cc'), ...CORE].map((source) => {
    const object = join(out, `${basename(source, '.cc')}.o`);
    if (!existsSync(object) || statSync(object).mtimeMs < Math.max(headers, statSync(source).mtimeMs)) execFileSync('g++', [...FLAGS, '-c', source, '-o', object], { stdio: 'inherit' });
    return object;
  });
  const program = join(out, 'virtcft-xen');
  if (!existsSync(program) || statSync(program).mtimeMs < newest(objects)) {
    execFileSync('g++', ['-pthread', '-static-libstdc++', '-static-libgcc', '-s', '-o', program, ...objects, '-l:libzstd.a', '-ldl'], { stdio: 'inherit' });
  }
  return program;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) console.log(buildXenProgram());
