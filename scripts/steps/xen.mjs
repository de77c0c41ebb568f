// The Xen host that the Xen lab boots under emulation: built from distribution packages in a root of its own.
import { buildXen, xenIsBuilt } from '../../libs/lab/xen/build.mjs';
import { NoXenHere, releaseHere } from '../../libs/lab/xen/release.mjs';
import { refreshPackageLists } from './packages.mjs';
import { StepFailed, runAsRoot, say, which } from './shell.mjs';

/** Why this machine cannot have the Xen lab, or null. */
export function whyNoXen() {
  try {
    releaseHere();
    return null;
  } catch (error) {
    if (error instanceof NoXenHere) return error.message;
    throw error;
  }
}

export function bringXen() {
  const why = whyNoXen();
  if (why !== null) throw new StepFailed(why);
  if (xenIsBuilt()) return buildXen();
  if (process.getuid() !== 0) throw new StepFailed('the Xen host is installed in a root of its own, which takes root: run this once as root');
  say('building a Xen host for the lab: Debian\'s Xen, its tools, a kernel and a small dom0 are fetched (some 150 MB) into .cache/xen');
  refreshPackageLists();
  if (!which('mmdebstrap')) {
    runAsRoot('apt-get', ['-qq', '-o', 'Dpkg::Use-Pty=0', 'install', '-y', '--no-install-recommends', 'mmdebstrap'], { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, advice: 'Are the package sources reachable (/etc/apt)?' });
  }
  try {
    return buildXen();
  } catch (error) {
    throw new StepFailed(`the Xen host cannot be built: ${error.stderr ?? ''}${error.message}`);
  }
}
