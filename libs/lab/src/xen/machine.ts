import { DOM0_MIB, HOST_MIB } from './limits.js';

/** Files of the built Xen host. */
export interface XenImages { readonly hypervisor: string; readonly kernel: string; readonly initrd: string; readonly disk: string }

/** Where QEMU puts what: dom0's agent on a loopback port, its console in a file. */
export interface XenMachine { readonly name: string; readonly port: number; readonly console: string }

// Lazy switching of the FPU corrupts dom0's memory under TCG, so Xen is told to switch eagerly.
const HYPERVISOR = ['console=com1', 'com1=115200,8n1', `dom0_mem=${DOM0_MIB}M,max:${DOM0_MIB}M`, 'dom0_max_vcpus=1', 'bootscrub=0', 'spec-ctrl=no,eager-fpu', 'xpti=no', 'no-real-mode'];
// With SMAP dom0 dies at its first IRET, with RDTSCP PVH guests hang; AVX and the others are slow or not emulated.
const WITHOUT = ['smap', 'rdtscp', 'avx', 'avx2', 'f16c', 'fma', 'vaes', 'vpclmulqdq', 'mpx', 'pku'];

/** QEMU's arguments for a Xen host under emulation. The disk is never written: changes last as long as the host. */
export function xenArguments(images: XenImages, machine: XenMachine): string[] {
  // A comma would end the module's arguments; QEMU reads a doubled one as itself.
  const file = (path: string): string => path.replaceAll(',', ',,');
  return [
    '-name', machine.name, '-machine', 'pc', '-accel', 'tcg,tb-size=256', '-cpu', ['max', ...WITHOUT.map((flag) => `-${flag}`)].join(','), '-smp', '1', '-m', String(HOST_MIB),
    '-display', 'none', '-vga', 'none', '-nodefaults', '-no-user-config', '-no-reboot',
    '-kernel', images.hypervisor, '-append', HYPERVISOR.join(' '), '-initrd', `${file(images.kernel)} console=hvc0 mitigations=off panic=1,${file(images.initrd)}`,
    '-drive', `file=${file(images.disk)},if=none,id=root,format=raw,snapshot=on,cache=unsafe`, '-device', 'virtio-blk-pci,drive=root',
    '-netdev', `user,id=agent,restrict=on,hostfwd=tcp:127.0.0.1:${machine.port}-:2222`, '-device', 'virtio-net-pci,netdev=agent,romfile=',
    '-serial', `file:${machine.console}`,
  ];
}
