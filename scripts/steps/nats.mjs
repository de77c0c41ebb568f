// nats-server 2.12 or newer (older ones silently ignore what the event log relies on): from PATH, else from Debian's sid, else built by Go.
import { chmodSync, copyFileSync, existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { StepFailed, atLeast, cache, output, run, say, which } from './shell.mjs';
import { withPackagesOfSid } from './sid.mjs';

const OLDEST = '2.12.0';
const BUILT = 'v2.12.1';
const bin = join(cache, 'bin');
const own = join(bin, 'nats-server');

function newEnough(path) {
  const version = path && existsSync(path) ? output(path, ['--version'])?.match(/v?(\d+\.\d+\.\d+)/)?.[1] : undefined;
  return version !== undefined && atLeast(version, OLDEST);
}

function fromDebian() {
  return withPackagesOfSid(() => ['nats-server'], (folder) => take(['usr/sbin', 'usr/bin'].map((place) => join(folder, place, 'nats-server')).find(existsSync)));
}

function fromGo() {
  const go = which('go');
  if (!go) return 'Go is not installed';
  mkdirSync(bin, { recursive: true });
  run(go, ['install', `github.com/nats-io/nats-server/v2@${BUILT}`], { env: { ...process.env, GOBIN: bin } });
  return newEnough(own) ? null : 'what Go built does not run';
}

/** Copies the program into .cache/bin when it runs here; otherwise says why not. */
function take(program) {
  if (!program || !newEnough(program)) return 'its nats-server does not run here or is too old';
  mkdirSync(bin, { recursive: true });
  copyFileSync(program, `${own}.new`);
  chmodSync(`${own}.new`, 0o755);
  renameSync(`${own}.new`, own);
  return null;
}

export function bringNats() {
  if (existsSync(own)) return;
  const inPath = which('nats-server');
  if (newEnough(inPath)) {
    take(inPath);
    return;
  }
  say(`no nats-server ${OLDEST} or newer here: fetching it from Debian sid into .cache/`);
  const refused = fromDebian();
  if (refused === null) return;
  say(`${refused}; building it with Go`);
  const failed = fromGo();
  if (failed !== null) throw new StepFailed(`no nats-server: ${refused}; ${failed}. Install nats-server ${OLDEST} or newer so that it is in PATH (https://nats.io/download)`);
}
