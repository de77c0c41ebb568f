import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Fabric } from '@virtcft/fabric';
import type { NicAttachment, VmSpec } from '@virtcft/hypervisor';

/** The socket paths between a VM's NICs and the fabric's ports. */
export class Attachments {
  private readonly attached = new Set<string>();

  constructor(private readonly fabric: Fabric, private readonly folder: string) {}

  async attach(spec: VmSpec): Promise<NicAttachment[]> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    return Promise.all(spec.nics.map(async ({ mac }) => {
      const stem = join(this.folder, mac.replaceAll(':', ''));
      const nic = { mac, guest: `${stem}.guest`, fabric: `${stem}.fabric` };
      if (!this.attached.has(mac)) await this.fabric.addPort({ nic: mac, path: nic.fabric, peerPath: nic.guest });
      this.attached.add(mac);
      return nic;
    }));
  }

  async detach(spec: VmSpec): Promise<void> {
    for (const { mac } of spec.nics) {
      if (this.attached.delete(mac)) await this.fabric.removePort(mac);
    }
  }
}
