// The Xen host that the Xen lab boots under emulation: built from distribution packages in a root of its own.
import { existsSync } from 'node:fs';
import { buildXen, xenIsBuilt } from '../../libs/lab/xen/build.mjs';
import { NoXenHere, releaseHere } from '../../libs/lab/xen/release.mjs';
import { buildXenProgram } from '../../native/xen/build.mjs';
import { refreshPackageLists } from './packages.mjs';
import { StepFailed, runAsRoot, say, which } from './shell.mjs';

export function bringXen() {
  try {
    releaseHere();
  } catch (error) {
    throw error instanceof NoXenHere ? new StepFailed(error.message) : error;
  }
  bringProgram();
  if (xenIsBuilt()) return buildXen();
  if (process.getuid() !== 0) throw new StepFailed('the Xen host is installed in a root of its own, which takes root: run this once as root');
  say('building a Xen host for the lab: Debian\'s Xen, its tools, a kernel and a small dom0 are fetched (some 150 MB) into .cache/xen');
  refreshPackageLists();
  if (!which('mmdebstrap')) install('mmdebstrap');
  try {
    return buildXen();
  } catch (error) {
    throw new StepFailed(`the Xen host cannot be built: ${error.stderr ?? ''}${error.message}`);
  }
}

/** virtcft-xen, which the lab puts into its dom0s. */
function bringProgram() {
  if (!existsSync('/usr/include/xenctrl.h')) {
    say('installing Xen\'s headers (libxen-dev)');
    refreshPackageLists();
    install('libxen-dev');
  }
  try {
    buildXenProgram();
  } catch (error) {
    throw new StepFailed(`virtcft-xen cannot be built, which needs the headers of Xen 4.17 (Debian 12): ${error.message}`);
  }
}

function install(name) {
  runAsRoot('apt-get', ['-qq', '-o', 'Dpkg::Use-Pty=0', 'install', '-y', '--no-install-recommends', name], { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, advice: 'Are the package sources reachable (/etc/apt)?' });
}
