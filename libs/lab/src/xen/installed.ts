import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { guestImages, type GuestRole } from '../guests.js';
import type { InstallationOptions } from '../installation.js';
import type { Lab } from '../lab.js';
import { LabUnavailable } from '../namespaces.js';
import type { XenHost } from './host.js';
import { dom0Address, startXenHost } from './rack.js';

const root = join(import.meta.dirname, '..', '..', '..', '..');
/** From dist also when the caller runs from source: the process has several files. */
const AGENT = join(import.meta.dirname, '..', '..', 'dist', 'xen', 'agent-main.js');
const PROGRAM_HERE = join(root, 'native', 'build', 'xen', 'virtcft-xen');
const PROGRAM = '/usr/local/sbin/virtcft-xen';

export interface XenHosts {
  /** For an installation whose hosts each have a Xen: it boots before the host's agent, which stands outside dom0 and reaches into it. */
  readonly options: Required<Pick<InstallationOptions, 'agent' | 'agentEnv' | 'equip'>>;
  /** Those that were booted, by name; a host that came back is the newest. */
  readonly booted: ReadonlyMap<string, XenHost>;
}

/** `roles`: guests whose images the hosts must have. LabUnavailable where something is not built. */
export function xenHosts(lab: Lab, roles: readonly GuestRole[]): XenHosts {
  for (const file of [AGENT, PROGRAM_HERE]) if (!existsSync(file)) throw new LabUnavailable(`${file} is not built: npm run lab:xen builds it`);
  const booted = new Map<string, XenHost>();
  const images = guestImages();
  return {
    booted,
    options: {
      agent: AGENT,
      agentEnv: (name) => ({ VIRTCFT_LAB_DOM0: dom0Address(lab.host(name)), VIRTCFT_LAB_MACHINE: booted.get(name)?.control ?? '', VIRTCFT_LAB_PROGRAM: PROGRAM }),
      equip: async (host) => {
        const xen = await startXenHost(lab, host);
        booted.set(host.name, xen);
        await xen.put(PROGRAM_HERE, PROGRAM, '0755');
        // At the same paths as here, which a cluster file names.
        for (const file of [images.plainKernel, ...roles.map((role) => images.initrd[role])]) await xen.put(file, file);
        // One emulated processor for all: guests that are busy must not keep dom0 from its work.
        await xen.output(['xl', 'sched-credit2', '-d', 'Domain-0', '-w', '8192']);
      },
    },
  };
}
