import type { Manifest } from '@virtcft/checkpoint';
import type { ClusterSpec, VmDefinition } from '@virtcft/events';
import type { HypervisorIdentity } from '@virtcft/hypervisor';
import { room_mib, sameIdentity } from '@virtcft/protocol';
import { DrillRefused } from './refused.js';
import { limits } from './limits.js';

/** The definition of every VM of the cut, in the cluster file's order. Throws DrillRefused where the file does not describe what the cut holds. */
export function guestsOf({ vms }: Pick<Manifest, 'vms'>, spec: ClusterSpec): VmDefinition[] {
  const refuse = (why: string): never => { throw new DrillRefused(why, 'drill a cut that was taken since the cluster file changed ("virtcft get cuts")'); };
  const unknown = Object.keys(vms).filter((name) => !spec.vms.some((vm) => vm.name === name));
  if (unknown.length > 0) refuse(`the cluster file has no VM ${unknown.join(', ')}, which is in the cut`);
  const guests = spec.vms.filter(({ name }) => vms[name] !== undefined);
  if (guests.length === 0) refuse('the cut holds no VM');
  for (const { name, memory_mib, disks } of guests) {
    const held = vms[name];
    if (held?.memory_bytes !== memory_mib * 2 ** 20) refuse(`VM ${name} has ${memory_mib} MiB in the cluster file and ${(held?.memory_bytes ?? 0) / 2 ** 20} in the cut`);
    if (held?.disks.map((disk) => disk.name).join() !== disks.map((disk) => disk.name).join()) refuse(`VM ${name} has other disks in the cluster file than in the cut`);
  }
  return guests;
}

/** Throws DrillRefused when guests of this size do not fit beside what runs on the machine. `available_mib`: what the kernel says can be had without swapping. */
export function checkRoom(guests: readonly Pick<VmDefinition, 'memory_mib'>[], available_mib: number): void {
  const needed_mib = guests.reduce((sum, vm) => sum + room_mib(vm), 0) + limits.spare_mib;
  if (needed_mib <= available_mib) return;
  throw new DrillRefused(`${guests.length} VMs need ${needed_mib} MiB here, ${limits.spare_mib} of them left to the machine; ${available_mib} MiB are free`, 'drill on a machine with more free memory');
}

/** `MemAvailable` of /proc/meminfo, in MiB; 0 when it is not there. */
export const availableMib = (meminfo: string): number => Math.floor(Number(/^MemAvailable:\s+([0-9]+) kB$/m.exec(meminfo)?.[1] ?? 0) / 1024);

/** A capture loads only under the hypervisor and on the processor that made it (R20). Throws DrillRefused, with both. */
export function checkIdentity(vm: string, captured: HypervisorIdentity, here: HypervisorIdentity): void {
  if (sameIdentity(captured, here)) return;
  const text = ({ driver, version, machine, accel, cpu }: HypervisorIdentity): string => `${driver} ${version}, ${machine}, ${accel}, ${cpu}`;
  throw new DrillRefused(`VM ${vm} was captured by ${text(captured)}; this machine has ${text(here)}`, 'drill on a machine like the cluster\'s hosts');
}
