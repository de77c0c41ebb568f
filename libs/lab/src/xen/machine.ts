import { DOM0_MIB, HOST_MIB } from './limits.js';

/** Files of the built Xen host. */
export interface XenImages { readonly hypervisor: string; readonly kernel: string; readonly initrd: string; readonly disk: string }

/** How dom0 is reached: by a port on loopback, or as a machine of its own on the network that a TAP leads to. */
export type XenNetwork = { readonly port: number } | { readonly tap: string; readonly mac: string; /** With its prefix's length. */ readonly address: string };

/** Where QEMU puts what: dom0's agent, its console in a file, its own control (QMP) on a unix socket. */
export interface XenMachine { readonly name: string; readonly console: string; readonly control: string; readonly network: XenNetwork }

// Lazy switching of the FPU corrupts dom0's memory under TCG, so Xen is told to switch eagerly.
const HYPERVISOR = ['console=com1', 'com1=115200,8n1', `dom0_mem=${DOM0_MIB}M,max:${DOM0_MIB}M`, 'dom0_max_vcpus=1', 'bootscrub=0', 'spec-ctrl=no,eager-fpu', 'xpti=no', 'no-real-mode'];
// With SMAP dom0 dies at its first IRET, with RDTSCP PVH guests hang; AVX and the others are slow or not emulated.
const WITHOUT = ['smap', 'rdtscp', 'avx', 'avx2', 'f16c', 'fma', 'vaes', 'vpclmulqdq', 'mpx', 'pku'];

/** QEMU's arguments for a Xen host under emulation. The disk is never written: changes last as long as the host. */
export function xenArguments(images: XenImages, machine: XenMachine): string[] {
  // A comma would end the module's arguments; QEMU reads a doubled one as itself.
  const file = (path: string): string => path.replaceAll(',', ',,');
  const { network } = machine;
  const dom0 = ['console=hvc0', 'mitigations=off', 'panic=1', ...('tap' in network ? [`virtcft.dom0=${network.address}`] : [])].join(' ');
  return [
    '-name', machine.name, '-machine', 'pc', '-accel', 'tcg,tb-size=256', '-cpu', ['max', ...WITHOUT.map((flag) => `-${flag}`)].join(','), '-smp', '1', '-m', String(HOST_MIB),
    '-display', 'none', '-vga', 'none', '-nodefaults', '-no-user-config', '-no-reboot',
    '-kernel', images.hypervisor, '-append', HYPERVISOR.join(' '), '-initrd', `${file(images.kernel)} ${dom0},${file(images.initrd)}`,
    '-drive', `file=${file(images.disk)},if=none,id=root,format=raw,snapshot=on,cache=unsafe`, '-device', 'virtio-blk-pci,drive=root',
    ...('tap' in network ? ['-netdev', `tap,id=agent,ifname=${network.tap},script=no,downscript=no`, '-device', `virtio-net-pci,netdev=agent,mac=${network.mac},romfile=`]
      : ['-netdev', `user,id=agent,restrict=on,hostfwd=tcp:127.0.0.1:${network.port}-:2222`, '-device', 'virtio-net-pci,netdev=agent,romfile=']),
    '-qmp', `unix:${file(machine.control)},server=on,wait=off`, '-serial', `file:${machine.console}`,
  ];
}
