// A Go that can build what no distribution packages (MinIO): the one at hand when new enough, else Debian sid's in the project's cache.
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { StepFailed, atLeast, cache, output, say, which } from './shell.mjs';
import { withPackagesOfSid } from './sid.mjs';

// From 1.21 on Go brings the tool chain that a module asks for by itself.
const OLDEST = '1.21.0';
const folder = join(cache, 'go');

function newEnough(go) {
  const version = go && output(go, ['version'])?.match(/go(\d+\.\d+(\.\d+)?)/)?.[1];
  return Boolean(version) && atLeast(version, OLDEST);
}

const brought = () => (existsSync(join(folder, 'lib')) ? readdirSync(join(folder, 'lib')).filter((name) => name.startsWith('go-')).map((name) => join(folder, 'lib', name, 'bin', 'go'))[0] : undefined);

/** Path of a usable go. */
export function bringGo() {
  const own = which('go');
  if (newEnough(own)) return own;
  if (newEnough(brought())) return brought();
  say(`no Go ${OLDEST} or newer here: fetching it from Debian sid into .cache/`);
  const refused = withPackagesOfSid((dependencies) => {
    const compiler = dependencies('golang-go').find((name) => /^golang-\d.*-go$/.test(name));
    return compiler ? [compiler, compiler.replace(/-go$/, '-src')] : [];
  }, (root) => {
    rmSync(folder, { recursive: true, force: true });
    // lib/go-X.Y points into share/go-X.Y by relative links: both keep their places.
    for (const place of ['lib', 'share']) cpSync(join(root, 'usr', place), join(folder, place), { recursive: true, verbatimSymlinks: true });
    return newEnough(brought()) ? null : 'its Go does not run here';
  });
  if (refused !== null) throw new StepFailed(`no Go: ${refused}. Install Go ${OLDEST} or newer so that it is in PATH (https://go.dev/dl)`);
  return brought();
}
