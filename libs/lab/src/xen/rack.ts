import { randomBytes, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command, ip } from '../command.js';
import { guestAppend, guestImages, type GuestRole, type Load } from '../guests.js';
import type { Lab, LabHost } from '../lab.js';
import { MANAGEMENT } from '../site.js';
import type { Cable } from './emulator.js';
import { XenGuest } from './guest.js';
import { HostSwitch } from './host-switch.js';
import { XenHost } from './host.js';
import { AGENT_PORT } from './limits.js';

const TUNNEL_PORT = 4789;
const DOM0_ABOVE_HOST = 100; // its address is the host's and so much

/** Address on the management network of the dom0 of a lab's host. */
export function dom0Address(host: LabHost): string {
  return `${MANAGEMENT.prefix}${Number(host.address.slice(MANAGEMENT.prefix.length)) + DOM0_ABOVE_HOST}`;
}

/**
 * Boots a Xen inside a host of a lab: its dom0 is on the management network beside the host itself, where services and the host's agent reach it. Killing
 * the lab's host is a power cut of the whole emulated machine.
 */
export async function startXenHost(lab: Lab, host: LabHost): Promise<XenHost> {
  const { machine, name } = host;
  const address = dom0Address(host);
  const last = Number(address.slice(MANAGEMENT.prefix.length)).toString(16).padStart(2, '0');
  await ip([
    'link add joint type bridge forward_delay 0 mcast_snooping 0', 'link set joint up',
    'link set mgmt0 master joint', 'addr flush dev mgmt0', `addr add ${host.address}/${MANAGEMENT.bits} dev joint`,
    'tuntap add dom0 mode tap', 'link set dom0 master joint up',
  ], machine);
  // dom0 takes frames as they are: what the kernel here would hand over unfinished is finished first.
  await command(['ethtool', '-K', 'joint', 'tx', 'off', 'tso', 'off', 'gso', 'off'], machine);
  return XenHost.boot({
    name, dir: lab.dir,
    place: { machine, network: { tap: 'dom0', mac: `52:54:00:77:00:${last}`, address: `${address}/${MANAGEMENT.bits}` }, connect: () => lab.site.connect(address, AGENT_PORT, 'half-open') },
  });
}

/** A guest of the rack: what it does, where it stands, how others know it. */
export interface RackVm { readonly name: string; readonly role: GuestRole; readonly host: string; readonly address: string; readonly mac: string; readonly memory_mib: number }

interface RackHost { readonly lab: LabHost; readonly xen: XenHost; readonly wires: HostSwitch }

/** Xen hosts of a lab, joined: each with the product's switch outside its dom0, the guests' cables in it, and the gate at the host's edge. */
export class XenRack {
  private readonly hosts = new Map<string, RackHost>();
  private constructor(readonly lab: Lab, readonly vms: readonly RackVm[], private readonly load: Load['guest']) {}

  /** Boots all hosts side by side, and joins them; no guest yet, all gates closed. `said` hears how far it is. */
  static async build(lab: Lab, options: { readonly hosts: readonly string[]; readonly vms: readonly RackVm[]; readonly load: Load['guest'] }, said: (text: string) => void = () => undefined): Promise<XenRack> {
    const rack = new XenRack(lab, options.vms, options.load);
    const secretFile = join(lab.dir, 'rack-secret');
    writeFileSync(secretFile, randomBytes(32), { mode: 0o600 });
    const machines: { readonly life: string; readonly lab: LabHost }[] = [];
    for (const name of options.hosts) machines.push({ life: randomUUID(), lab: await lab.startHost(name) });
    const [cluster, incarnation] = [randomUUID(), randomUUID()];
    const numbers = new Map(options.hosts.map((name, number) => [name, number]));
    await Promise.all(machines.map(async (machine, number) => {
      const xen = await startXenHost(lab, machine.lab);
      said(`${machine.lab.name} is up`);
      const wires = await HostSwitch.start(lab, machine.lab.name, {
        secretFile, open: { cluster, host: number, life: machine.life, tunnel: { address: machine.lab.address, port: TUNNEL_PORT }, edge: machine.lab.edge },
        wiring: {
          generation: 1, incarnation, colour: 1, macs: options.vms.map(({ mac, host }) => ({ mac, host: numbers.get(host) ?? 0 })),
          peers: machines.flatMap((peer, other) => (other === number ? [] : [{ host: other, life: peer.life, address: peer.lab.address, port: TUNNEL_PORT }])),
        },
      });
      rack.hosts.set(machine.lab.name, { lab: machine.lab, xen, wires });
    }));
    return rack;
  }

  /** Starts a guest on its host; it boots when this returns. */
  async start(vm: RackVm): Promise<XenGuest> {
    const { xen, wires, lab } = this.host(vm.host);
    const [folder, images] = [join(lab.runDir, 'cables'), guestImages()];
    await command(['mkdir', '-p', folder], lab.machine);
    const cable: Cable = { mac: vm.mac, guest: join(folder, `${vm.name}.guest`), fabric: join(folder, `${vm.name}.fabric`) };
    await wires.addPort(cable);
    return XenGuest.create(xen, {
      name: vm.name, memory_mib: vm.memory_mib, kernel: images.plainKernel, initrd: images.initrd[vm.role], nics: [cable],
      append: guestAppend({ console: 'hvc0', address: vm.address, peers: this.vms.map(({ address }) => address), role: vm.role, load: this.load }),
    });
  }

  host(name: string): RackHost {
    const host = this.hosts.get(name);
    if (!host) throw new Error(`no Xen host "${name}" is up (up: ${[...this.hosts.keys()].join(', ') || 'none'})`);
    return host;
  }

  /** All gates: open, or closed until cuts are committed. */
  async setPassThrough(pass: boolean): Promise<void> { await this.each(({ wires }) => wires.setPassThrough(pass)); }
  /** The colour changes everywhere; nothing is captured. */
  async cut(epoch: number): Promise<void> { await this.each(({ wires }) => wires.cut(epoch)); }
  /** Output up to that epoch leaves everywhere. */
  async commit(epoch: number): Promise<void> { await this.each(({ wires }) => wires.commit(epoch)); }
  private async each<T>(what: (host: RackHost) => Promise<T>): Promise<void> { await Promise.all([...this.hosts.values()].map(what)); }

  /** Power cut of one host: its emulator, its switch and its guests are gone at once. */
  async kill(name: string): Promise<void> {
    const { xen } = this.host(name);
    this.hosts.delete(name);
    await this.lab.killHost(name);
    await xen.close();
  }
}
