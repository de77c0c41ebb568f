// A step is done when the hash of what it depends on is the one it was last done for.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { cache, root } from './shell.mjs';

const SKIP = new Set(['node_modules', 'dist', 'build', 'coverage', '.cache', '.nx', '.artifacts', '.git']);

function files(path) {
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .filter((item) => !SKIP.has(item.name))
    .flatMap((item) => (item.isDirectory() ? files(join(path, item.name)) : item.isFile() ? [join(path, item.name)] : []))
    .sort();
}

/** Hash over files and folders of the repository (`only`: endings that count) and over the words in `also`. */
export function contentHash(paths, { only, also = [] } = {}) {
  const hash = createHash('sha256');
  for (const word of also) hash.update(`${word}\0`);
  for (const path of paths.map((name) => join(root, name))) {
    const found = existsSync(path) && !path.endsWith('/') && readableFile(path) ? [path] : files(path);
    for (const file of found) {
      if (only && !only.some((ending) => file.endsWith(ending))) continue;
      hash.update(`${relative(root, file)}\0`).update(readFileSync(file)).update('\0');
    }
  }
  return hash.digest('hex');
}

function readableFile(path) {
  try {
    readdirSync(path);
    return false;
  } catch (error) {
    if (error.code === 'ENOTDIR') return true;
    throw error;
  }
}

const stampPath = (step) => join(cache, 'stamps', step);

export function isDone(step, hash) {
  return existsSync(stampPath(step)) && readFileSync(stampPath(step), 'utf8') === hash;
}

export function markDone(step, hash) {
  mkdirSync(dirname(stampPath(step)), { recursive: true });
  writeFileSync(stampPath(step), hash);
}

/** Before a step that may end half-way, so that it is done again. */
export function markUndone(step) {
  rmSync(stampPath(step), { force: true });
}
