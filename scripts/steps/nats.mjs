// nats-server 2.12 or newer (older ones silently ignore what the event log relies on): from PATH, else from Debian's sid, else built by Go.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, chmodSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StepFailed, atLeast, cache, output, run, say, which } from './shell.mjs';

const OLDEST = '2.12.0';
const BUILT = 'v2.12.1';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const bin = join(cache, 'bin');
const own = join(bin, 'nats-server');

function newEnough(path) {
  const version = path && existsSync(path) ? output(path, ['--version'])?.match(/v?(\d+\.\d+\.\d+)/)?.[1] : undefined;
  return version !== undefined && atLeast(version, OLDEST);
}

/** Debian sid's package, resolved through the signed index with a state of its own, unpacked, not installed. */
function fromDebian() {
  if (!existsSync(KEYRING)) return 'the key ring of Debian is not installed (package debian-archive-keyring)';
  const work = mkdtempSync(join(tmpdir(), 'virtcft-nats-'));
  try {
    for (const folder of ['lists/partial', 'archives/partial']) mkdirSync(join(work, folder), { recursive: true });
    writeFileSync(join(work, 'sources.list'), `deb [signed-by=${KEYRING}] http://deb.debian.org/debian sid main\n`);
    writeFileSync(join(work, 'status'), '');
    const options = [`Dir::Etc::sourcelist=${join(work, 'sources.list')}`, 'Dir::Etc::sourceparts=-', `Dir::State::lists=${join(work, 'lists')}`,
      `Dir::State::status=${join(work, 'status')}`, `Dir::Cache=${work}`, 'APT::Sandbox::User=root', 'Acquire::Languages=none', 'APT::Architecture=amd64', 'APT::Architectures=amd64']
      .flatMap((option) => ['-o', option]);
    if (output('apt-get', [...options, '-qq', 'update']) === null) return 'the index of Debian sid cannot be had';
    if (output('apt-get', [...options, '-qq', 'download', 'nats-server'], { cwd: work }) === null) return 'the package nats-server of Debian sid cannot be had';
    const deb = readdirSync(work).find((file) => file.endsWith('.deb'));
    if (output('dpkg', ['-x', join(work, deb), join(work, 'root')]) === null) return `${deb} cannot be unpacked`;
    return take(['usr/sbin', 'usr/bin'].map((folder) => join(work, 'root', folder, 'nats-server')).find(existsSync));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
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
