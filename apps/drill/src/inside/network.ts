import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ChannelFrame } from '@virtcft/checkpoint';
import type { VmDefinition } from '@virtcft/events';
import { openFabric, type Fabric } from '@virtcft/fabric';
import type { NicAttachment } from '@virtcft/hypervisor';
import { checkAddress } from '../address.js';
import { limits } from '../limits.js';

const execute = promisify(execFile);

/**
 * The guests' network in a drill: a fabric of a cluster that nobody else is in, under fresh ids and a fresh secret, without peers and edge. One more port of it
 * is an interface of the drill's own namespace, for the check.
 */
export class DrillNetwork implements Disposable {
  private constructor(private readonly fabric: Fabric, private readonly folder: string, /** The check's, where it has one. */ readonly address: string | null) {}

  /** `colour`: of the epoch that begins. Throws FabricError, DrillRefused. */
  static async open(guests: readonly VmDefinition[], options: { readonly folder: string; readonly mtu: number; readonly colour: number; readonly address: string | null }): Promise<DrillNetwork> {
    const { folder, mtu, colour } = options;
    await mkdir(folder, { mode: 0o700 });
    const own = checkAddress(guests.flatMap(({ address }) => address ?? []), options.address);
    const fabric = openFabric({ cluster: randomUUID(), host: 0, life: randomUUID(), secret: randomBytes(32), tunnel: { address: '127.0.0.1', port: 4789 }, edge: null, mtu }, () => undefined);
    try {
      // Locally administered, of one NIC.
      const mac = `02:${[...randomBytes(5)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
      const macs = [...guests.map((guest) => guest.mac), mac].map((each) => ({ mac: each, host: 0 }));
      await fabric.setGeneration({ generation: 1, incarnation: randomUUID(), colour, peers: [], macs }, null);
      // No commit comes here; and there is no outside.
      await fabric.setPassThrough(true);
      const tap = limits.interface_name;
      await fabric.addPort({ nic: mac, tap });
      await execute('ip', ['link', 'set', tap, 'address', mac]);
      if (own !== null) await execute('ip', ['address', 'add', `${own.address}/${own.bits}`, 'dev', tap]);
      return new DrillNetwork(fabric, folder, own?.address ?? null);
    } catch (error) {
      fabric.close();
      throw error;
    }
  }

  async attach(mac: string): Promise<NicAttachment> {
    const stem = join(this.folder, mac.replaceAll(':', ''));
    const nic = { mac, guest: `${stem}.guest`, fabric: `${stem}.fabric` };
    await this.fabric.addPort({ nic: mac, path: nic.fabric, peerPath: nic.guest });
    return nic;
  }

  /** What was in flight at the cut, before the guests run (R6). */
  inject(frames: readonly ChannelFrame[]): Promise<void> { return this.fabric.inject(frames); }

  [Symbol.dispose](): void { this.fabric.close(); }
}
