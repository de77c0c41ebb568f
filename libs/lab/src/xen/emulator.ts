import { connect } from 'node:net';
import { QmpClient, type XenCabling } from '@virtcft/hypervisor';
import { UNPLUG_PATIENCE_MS } from './limits.js';

/** A guest's NIC as its machine's cable: two datagram sockets, of which QEMU binds `guest` and the fabric's port `fabric`. */
export interface Cable { readonly mac: string; readonly guest: string; readonly fabric: string }

/** A disk that somebody serves by NBD on a unix socket. */
export interface Plug { readonly name: string; readonly socket: string }

/** Control of the machine that QEMU emulates: what is plugged into it while it runs. dom0 finds it as it would find real hardware. */
export class Emulator {
  private constructor(private readonly qmp: QmpClient) {}

  static async open(control: string, host: string): Promise<Emulator> {
    const qmp = new QmpClient(connect(control), `the machine of ${host}`);
    await qmp.ready();
    return new Emulator(qmp);
  }

  /** dom0 gets an interface with the guest's address, `fe` in front; what passes over it are the guest's frames as they are. One that somebody left is plugged anew. */
  async plugCable({ mac, guest, fabric }: Cable): Promise<void> {
    const id = idOf('cable', mac);
    await this.unplugCable(mac);
    await this.qmp.execute('netdev_add', { type: 'dgram', id, local: { type: 'unix', path: guest }, remote: { type: 'unix', path: fabric } });
    await this.qmp.execute('device_add', { driver: 'virtio-net-pci', id: `${id}-nic`, netdev: id, mac: cableAddress(mac), romfile: '' });
  }

  /** Nothing where none is plugged. */
  async unplugCable(mac: string): Promise<void> {
    if (!(await this.has(`${idOf('cable', mac)}-nic`))) return;
    await this.unplug(`${idOf('cable', mac)}-nic`);
    await this.qmp.execute('netdev_del', { id: idOf('cable', mac) });
  }

  /** dom0 gets a disk with the serial number `name` (at most 20 characters). */
  async plugDisk({ name, socket }: Plug): Promise<void> {
    const id = idOf('disk', name);
    await this.qmp.execute('blockdev-add', { driver: 'nbd', 'node-name': id, server: { type: 'unix', path: socket }, export: name, 'reconnect-delay': 10, discard: 'unmap' });
    await this.qmp.execute('device_add', { driver: 'virtio-blk-pci', id: `${id}-disk`, drive: id, serial: name, rerror: 'report', werror: 'report' });
  }

  async unplugDisk(name: string): Promise<void> {
    await this.unplug(`${idOf('disk', name)}-disk`);
    await this.qmp.execute('blockdev-del', { 'node-name': idOf('disk', name) });
  }

  private async has(device: string): Promise<boolean> {
    const devices = await this.qmp.execute('qom-list', { path: '/machine/peripheral' }) as readonly { readonly name: string }[];
    return devices.some(({ name }) => name === device);
  }

  /** Until dom0 has let it go. */
  private async unplug(device: string): Promise<void> {
    let forget: () => void = () => undefined;
    let timer: NodeJS.Timeout | undefined;
    const gone = new Promise<void>((resolve, reject) => {
      forget = this.qmp.onEvent(({ name, data }) => { if (name === 'DEVICE_DELETED' && data['device'] === device) resolve(); });
      timer = setTimeout(() => { reject(new Error(`dom0 does not let go of ${device} within ${UNPLUG_PATIENCE_MS / 1_000} s`)); }, UNPLUG_PATIENCE_MS);
    });
    try {
      await Promise.all([gone, this.qmp.execute('device_del', { id: device })]);
    } finally {
      clearTimeout(timer);
      forget();
    }
  }

  close(): void { this.qmp.close(); }
}

/** A driver's NICs as cables of the machine. */
export function cabling(machine: () => Promise<Emulator>): XenCabling {
  return {
    script: '/etc/xen/scripts/cable',
    plug: async (nic) => { await (await machine()).plugCable(nic); },
    unplug: async (mac) => { await (await machine()).unplugCable(mac); },
  };
}

/** dom0's interface of a guest's cable. */
export function cableAddress(mac: string): string { return `fe${mac.slice(2)}`; }

function idOf(kind: 'cable' | 'disk', name: string): string { return `${kind}-${name.replaceAll(':', '')}`; }
