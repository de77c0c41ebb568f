// Brings everything that building and running need. The second time it only looks.
import { bringGuests } from './steps/guests.mjs';
import { installModules } from './steps/modules.mjs';
import { bringNats } from './steps/nats.mjs';
import { buildNative } from './steps/native.mjs';
import { bringNode, ownNodeIsNewEnough } from './steps/node.mjs';
import { installPackages, missingPackages } from './steps/packages.mjs';
import { say } from './steps/shell.mjs';
import { buildTypeScript } from './steps/typescript.mjs';

/** The tools without what is compiled here. */
export function prepare() {
  const missing = missingPackages();
  if (missing.length > 0) {
    say('the first run installs packages of the distribution (root or sudo) and brings the rest into this folder:');
    say(`  packages: ${missing.join(' ')}`);
    say(`  into .cache/: ${ownNodeIsNewEnough() ? '' : 'Node 24, '}nats-server unless a new one is installed, a Linux kernel and two guest images`);
  }
  installPackages();
  bringNode();
  installModules();
}

export function build() {
  prepare();
  buildNative();
  buildTypeScript();
}

export function setup() {
  build();
  bringNats();
  bringGuests();
}
