// A program of an unpacked distribution tree with the shared libraries it needs, found as its loader would find them.
import { execFileSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';

const FOLDERS = ['lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu', 'lib64', 'usr/lib64'];
const LOADER = 'ld-linux-x86-64.so.2';

function needed(file) {
  const text = execFileSync('readelf', ['-d', file], { encoding: 'utf8' });
  return [...text.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((found) => found[1]);
}

function locate(root, library) {
  const path = FOLDERS.map((folder) => join(root, folder, library)).find((candidate) => existsSync(candidate));
  if (!path) throw new Error(`library ${library} is in none of the unpacked packages`);
  return realpathSync(path);
}

/** Entries of an initramfs: the program in bin/, its libraries in lib/, the loader where the program looks for it. */
export function programFiles(root, program) {
  const binary = realpathSync(join(root, program));
  const files = { [`bin/${basename(program)}`]: { from: binary, executable: true }, [`lib64/${LOADER}`]: { from: locate(root, LOADER), executable: true } };
  const open = needed(binary);
  for (let library = open.pop(); library; library = open.pop()) {
    if (library === LOADER || files[`lib/x86_64-linux-gnu/${library}`]) continue;
    const from = locate(root, library);
    files[`lib/x86_64-linux-gnu/${library}`] = { from, executable: true };
    open.push(...needed(from));
  }
  return files;
}
