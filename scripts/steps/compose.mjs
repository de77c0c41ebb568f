// What `npm run test:compose` needs beside the rest: a Docker engine (not started: the test starts one of its own) and Compose.
import { chmodSync, copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { StepFailed, cache, output, runAsRoot, say, which } from './shell.mjs';
import { withPackagesOf } from './sid.mjs';

const PROGRAMS = { dockerd: 'docker.io', docker: 'docker-cli', iptables: 'iptables', slirp4netns: 'slirp4netns', mmdebstrap: 'mmdebstrap', openssl: 'openssl' };
const plugin = join(cache, 'docker', 'cli-plugins', 'docker-compose');

export function bringCompose() {
  const missing = Object.entries(PROGRAMS).filter(([program]) => !which(program));
  if (missing.length > 0) {
    // Where the engine's package has the command line in it there is no package of its own.
    const names = missing.map(([, name]) => name).filter((name) => name !== 'docker-cli' || output('apt-cache', ['show', name]) !== null);
    say(`the compose test needs these packages of the distribution: ${names.join(' ')} (with systemd docker.io also starts the distribution's engine; the test uses its own)`);
    runAsRoot('apt-get', ['-qq', 'update']);
    runAsRoot('apt-get', ['-qq', '-o', 'Dpkg::Use-Pty=0', 'install', '-y', '--no-install-recommends', ...names], { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, stdio: ['ignore', 'ignore', 'inherit'] });
  }
  bringPlugin();
}

function bringPlugin() {
  if (existsSync(plugin)) return;
  say('fetching Compose from Debian 13 into .cache/');
  const refused = withPackagesOf('trixie', () => ['docker-compose'], (folder) => {
    const found = join(folder, 'usr/libexec/docker/cli-plugins/docker-compose');
    if (output(found, ['version']) === null) return 'its docker-compose does not run here';
    mkdirSync(dirname(plugin), { recursive: true });
    copyFileSync(found, plugin);
    chmodSync(plugin, 0o755);
    return null;
  });
  if (refused !== null) throw new StepFailed(`no Compose: ${refused}. Put the plugin docker-compose 2.26 or newer at ${plugin}`);
}
