import type { Barrier, ClusterSpec } from '@virtcft/events';
import { stringify } from 'yaml';
import type { z } from 'zod';
import { guestAppend, guestImages, type GuestRole, type Load } from '../guests.js';
import { OUTSIDE } from '../site.js';

export interface DemoVm { readonly name: string; readonly role: GuestRole; readonly address: string; readonly mac: string; readonly memory_mib: number; readonly host: string }

/** Name of the disk with the database's file system. */
export const FILESYSTEM_DISK = 'data';

/** Three VMs on two of three hosts; the third is the spare. A load with disks has a fourth VM, beside the first. */
export const demoHosts = ['host-a', 'host-b', 'host-c'] as const;

export function demoVms(memory_mib = 128, disks = false): DemoVm[] {
  const vm = (name: string, role: GuestRole, number: number, host: string): DemoVm =>
    ({ name, role, address: `${OUTSIDE.prefix}${10 + number}`, mac: `52:54:00:88:00:${(10 + number).toString(16).padStart(2, '0')}`, memory_mib, host });
  const database = disks ? [vm('database', 'database', 4, 'host-a')] : [];
  return [vm('redis', 'redis', 1, 'host-a'), vm('bank-1', 'bank', 2, 'host-b'), vm('bank-2', 'bank', 3, 'host-b'), ...database];
}

/** Two VMs on two hosts, no spare: where no host dies. Redis' image does not unpack in 96 MiB. */
export function pairVms(): DemoVm[] {
  return demoVms().slice(0, 2);
}

export interface ClusterFileOptions { readonly name: string; readonly hosts?: readonly string[]; readonly vms: readonly DemoVm[]; readonly load: Load; readonly interval_ms: number; readonly barrier: Barrier; readonly verify_every: number; readonly protect?: boolean }

/** The cluster file as a person would write it. */
export function clusterFile({ name, hosts = demoHosts, vms, load, interval_ms, barrier, verify_every, protect = true }: ClusterFileOptions): string {
  const images = guestImages();
  const probing = vms.filter(({ role }) => role === 'bank').at(-1);
  const peers = vms.map(({ address }) => address);
  const spec = {
    apiVersion: 'virtcft/v1', name, hosts: [...hosts], interval_ms, barrier, verify_every, protect,
    // One guest probes for gaps: a thousand wake-ups a second in each would be the largest load of all under emulation.
    vms: vms.map((vm) => ({
      name: vm.name, host: vm.host, memory_mib: vm.memory_mib, kernel: images.kernel, initrd: images.initrd[vm.role], mac: vm.mac, address: vm.address,
      append: guestAppend({ address: vm.address, peers, role: vm.role, load: vm === probing ? load.guest : { ...load.guest, probe: 0 }, ...(vm.role === 'database' ? { disks: load.disks } : {}) }),
      ...(vm.role === 'database' ? { disks: [{ name: FILESYSTEM_DISK, source: images.disks.data, format: 'raw' as const }, { name: 'blocks', source: images.disks.blocks, format: 'raw' as const }] } : {}),
    })),
  } satisfies z.input<typeof ClusterSpec>;
  return stringify(spec, null, { lineWidth: 0 });
}
