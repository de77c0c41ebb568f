import { HypervisorError } from '../../errors.js';
import type { NicAttachment, VmSpec } from '../../port.js';
import { CAPTURE_COMMANDS } from './command-at-hand.js';
import { LIMITS } from './limits.js';

/** File descriptors that QEMU inherits; the other ends are the driver's. */
export const FD = { qmp: 3, console: 4, incoming: 5, stop: 6, save: 7, cont: 8 } as const;

/** Control connections that carry one command each: see CommandAtHand. */
export const CAPTURE_CONNECTIONS = Object.keys(CAPTURE_COMMANDS) as (keyof typeof CAPTURE_COMMANDS)[];

/** What a host runs guests with; equal on every host that may load them. */
export interface MachineModel {
  readonly machine: string;
  readonly accel: 'tcg' | 'kvm';
  readonly cpu: string;
}

export interface Launch {
  readonly model: MachineModel;
  readonly spec: VmSpec;
  readonly nics: readonly NicAttachment[];
  /** A tmpfs file of exactly the guest's memory. */
  readonly ramPath: string;
  /** Waits for a device state on `FD.incoming` instead of booting. */
  readonly incoming: boolean;
  /** Disks without anything behind them and no commands at hand, for a process that never runs. */
  readonly withoutDisks?: boolean;
}

/** First PCI slot of the disks; the NICs' slots are below. */
const DISK_SLOT = 0x10;

/** In an option list a comma ends the value unless it is doubled. */
const quoted = (value: string): string => value.replaceAll(',', ',,');

/**
 * The one command line of a VM: loading needs the same one as saving, up to paths. Always held before the first instruction (-S), so that
 * dirty tracking is armed before the guest writes. Nothing in it lets bytes out past the fabric: no user network, no vsock, no shared disk.
 */
export function commandLine(launch: Launch): string[] {
  const { model, spec, nics } = launch;
  const args = [
    '-nodefaults', '-no-user-config', '-display', 'none', '-S',
    '-name', `guest=${quoted(spec.name)}`,
    '-accel', model.accel === 'kvm' ? 'kvm' : `tcg,tb-size=${LIMITS.translation_cache_mib}`,
    '-cpu', model.cpu,
    '-smp', `${spec.vcpus}`,
    '-m', `${spec.memory_mib}M`,
    // A file, not memfd: QEMU 10 puts a memfd's content into the stream.
    '-object', `memory-backend-file,id=ram,size=${spec.memory_mib}M,mem-path=${quoted(launch.ramPath)},share=on,dump=off`,
    '-machine', `${model.machine},memory-backend=ram,dump-guest-core=off,sata=off,smbus=off,vmport=off,usb=off,graphics=off`,
    '-chardev', `socket,id=qmp,fd=${FD.qmp}`, '-mon', 'chardev=qmp,mode=control',
    ...(launch.withoutDisks === true ? [] : CAPTURE_CONNECTIONS.flatMap((name) => ['-chardev', `socket,id=${name},fd=${FD[name]}`, '-mon', `chardev=${name},mode=control`])),
    '-chardev', `socket,id=console,fd=${FD.console}`, '-serial', 'chardev:console',
    '-device', 'pvpanic',
    // Under `stop` the real-time clock stands with the others, else it says what the host's says (R25).
    '-rtc', `base=utc,clock=${spec.clock === 'stop' ? 'vm' : 'host'}`,
    // A guest that ends stays as it is, to be captured as off or panicked (R7); a reboot is the guest's own affair.
    '-action', 'panic=pause,shutdown=pause,reboot=reset',
  ];
  // The modern register layout alone is 45 KB of every device state and a third of the time to write it (1.4 against 0.9 ms). An emulated processor
  // reaches a device without event descriptors just as well, and every stop and start would take them off and on (0.1 ms each).
  const virtio = `disable-modern=on${model.accel === 'tcg' ? ',ioeventfd=off' : ''}`;
  nics.forEach((nic, i) => {
    args.push(
      '-netdev', `dgram,id=n${i},local.type=unix,local.path=${quoted(nic.guest)},remote.type=unix,remote.path=${quoted(nic.fabric)}`,
      '-device', `virtio-net-pci,${virtio},netdev=n${i},mac=${nic.mac},addr=0x${(i + 2).toString(16)},romfile=`,
    );
  });
  spec.disks?.forEach((disk, i) => {
    const behind = launch.withoutDisks === true ? `null-co,size=${disk.bytes},read-zeroes=on`
      // An agent that is away for a moment must not fail the guest's requests.
      : `nbd,server.type=unix,server.path=${quoted(disk.socket)},export=${disk.name},reconnect-delay=${LIMITS.disk_reconnect_s},discard=unmap`;
    args.push(
      '-blockdev', `driver=${behind},node-name=d${i}`,
      // Errors go to the guest as they are; stopping the VM by itself would be a run state that nobody ordered.
      '-device', `virtio-blk-pci,${virtio},drive=d${i},addr=0x${(DISK_SLOT + i).toString(16)},serial=${disk.name.slice(0, LIMITS.serial_bytes)},rerror=report,werror=report`,
    );
  });
  args.push('-kernel', spec.kernel, '-append', spec.append);
  if (spec.initrd !== null) args.push('-initrd', spec.initrd);
  if (launch.incoming) args.push('-incoming', 'defer');
  return args;
}

/** What decides the layout of the device tree, and so the stream's prefix: see device-state.ts. */
export function shapeOf(spec: VmSpec): string {
  return `${spec.memory_mib}m-${spec.vcpus}c-${spec.nics.length}n-${spec.disks?.length ?? 0}d`;
}

/** Throws `spec-invalid`, naming the field. */
export function checkSpec(spec: VmSpec, nics: readonly NicAttachment[]): void {
  const refuse = (why: string): never => {
    throw new HypervisorError('spec-invalid', `VM ${JSON.stringify(spec.name)}: ${why}`);
  };
  if (!/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(spec.name)) refuse('the name must be 1-40 of a-z, 0-9 and -, not at an end');
  const within = (field: string, value: number, min: number, max: number): void => {
    if (!Number.isInteger(value) || value < min || value > max) refuse(`${field} is ${value}, must be a whole number from ${min} to ${max}`);
  };
  within('memory_mib', spec.memory_mib, LIMITS.memory_mib.min, LIMITS.memory_mib.max);
  within('vcpus', spec.vcpus, LIMITS.vcpus.min, LIMITS.vcpus.max);
  within('number of NICs', spec.nics.length, 0, LIMITS.nics);
  const disks = spec.disks ?? [];
  within('number of disks', disks.length, 0, LIMITS.disks);
  for (const { name, bytes, socket } of disks) {
    within(`size of disk ${name}`, bytes, 4096, Number.MAX_SAFE_INTEGER);
    if (!socket.startsWith('/') || Buffer.byteLength(socket) > LIMITS.socket_path_bytes) refuse(`the socket of disk ${name}, ${socket}, is not an absolute path of at most ${LIMITS.socket_path_bytes} bytes`);
  }
  if (Buffer.byteLength(spec.append) > LIMITS.append_bytes) refuse(`append is longer than ${LIMITS.append_bytes} bytes`);
  for (const path of [spec.kernel, ...(spec.initrd === null ? [] : [spec.initrd])]) {
    if (!path.startsWith('/')) refuse(`${path} is not an absolute path`);
  }
  if (spec.nics.length !== nics.length) refuse(`${spec.nics.length} NICs described, ${nics.length} attached`);
  nics.forEach((nic, i) => {
    if (nic.mac !== spec.nics[i]?.mac) refuse(`NIC ${i} is described as ${spec.nics[i]?.mac ?? 'none'} and attached as ${nic.mac}`);
    if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(nic.mac)) refuse(`${nic.mac} is not a MAC (six lower-case hex pairs with colons)`);
    for (const path of [nic.guest, nic.fabric]) {
      if (Buffer.byteLength(path) > LIMITS.socket_path_bytes) refuse(`socket path ${path} is longer than ${LIMITS.socket_path_bytes} bytes`);
    }
  });
}
