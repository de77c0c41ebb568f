import type { ClusterSpec, VmDefinition } from '@virtcft/events';
import type { VmDisk, VmSpec } from '@virtcft/hypervisor';
import type { HostedVm } from './disks/hosted-vm.js';
import type { Attachments } from './recovery/attachments.js';
import type { DeviceImage } from './recovery/replica-client.js';

/** The VMs of the cluster that stand on this host, and the device states that their rollback may need. */
export class HeldVms {
  private readonly vms = new Map<string, HostedVm>();
  /** Of the last committed cut and of every later one: with the memory's base and layers all that a rollback needs (R1). */
  private readonly devices = new Map<string, Map<number, DeviceImage>>();

  constructor(private readonly spec: () => ClusterSpec, readonly attachments: Attachments) {}

  get all(): HostedVm[] { return [...this.vms.values()]; }
  get names(): string[] { return [...this.vms.keys()]; }
  get macs(): string[] { return this.all.flatMap((vm) => vm.spec.nics.map(({ mac }) => mac)); }
  has(name: string): boolean { return this.vms.has(name); }
  get(name: string): HostedVm | undefined { return this.vms.get(name); }
  put(vm: HostedVm): void { this.vms.set(vm.spec.name, vm); }

  keepDevice(name: string, epoch: number, image: DeviceImage): void {
    this.devices.set(name, (this.devices.get(name) ?? new Map<number, DeviceImage>()).set(epoch, image));
  }
  device(name: string, epoch: number): DeviceImage | undefined { return this.devices.get(name)?.get(epoch); }
  /** The VM stands at `epoch` now: what was captured before or after it is of no use. */
  onlyDevice(name: string, epoch: number, image: DeviceImage): void { this.devices.set(name, new Map([[epoch, image]])); }
  /** Those that were captured at `epoch` or before, or stand at it: a commit is nothing to the others. */
  captured(epoch: number): HostedVm[] { return this.all.filter((vm) => [...this.devices.get(vm.spec.name)?.keys() ?? []].some((each) => each <= epoch)); }
  /** `epoch` is committed: nothing older can be a basis by rollback any more. */
  forgetDevicesBefore(epoch: number): void {
    for (const kept of this.devices.values()) for (const older of kept.keys()) if (older < epoch) kept.delete(older);
  }

  /** Throws when the cluster file has no such VM. */
  definitionOf(name: string): VmDefinition {
    const vm = this.spec().vms.find((each) => each.name === name);
    if (vm === undefined) throw new Error(`VM "${name}" is not in the cluster file`);
    return vm;
  }
  /** `disks`: as they are served on this host. */
  specOf(name: string, disks: readonly VmDisk[]): VmSpec {
    const vm = this.definitionOf(name);
    return { name, memory_mib: vm.memory_mib, vcpus: vm.vcpus, kernel: vm.kernel, initrd: vm.initrd ?? null, append: vm.append, nics: [{ mac: vm.mac }], disks, clock: this.spec().clock };
  }
  addressOf(name: string): string | null { return this.spec().vms.find((each) => each.name === name)?.address ?? null; }

  async drop(name: string): Promise<void> {
    const vm = this.vms.get(name);
    this.vms.delete(name);
    this.devices.delete(name);
    if (vm === undefined) return;
    await vm.destroy();
    await this.attachments.detach(vm.spec);
  }
}
