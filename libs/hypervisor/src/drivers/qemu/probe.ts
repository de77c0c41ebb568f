import { access, constants, readFile, statfs } from 'node:fs/promises';
import { HypervisorError, reasonOf } from '../../errors.js';
import type { HypervisorIdentity } from '../../port.js';
import { FD } from './command-line.js';
import type { MachineModel } from './command-line.js';
import { QemuProcess } from './process.js';
import { stringsOf } from './qmp-schemas.js';
import { variableOf } from './symbol.js';
import type { Variable } from './symbol.js';

/** Interfaces that a capture stands on and that a build of QEMU may lack. */
const NEEDED_COMMANDS = ['xen-save-devices-state', 'migrate-incoming', 'migrate-set-capabilities', 'stop', 'cont'];
const NEEDED_CAPABILITIES = ['x-ignore-shared', 'events'];

/** Newest versioned q35 of a list of machine types, or null. Versioned, because plain `q35` is another machine in every release. */
export function newestMachine(machines: readonly string[]): string | null {
  const rank = (name: string): number[] => name.slice('pc-q35-'.length).split('.').map(Number);
  const versioned = machines.filter((name) => /^pc-q35-\d+(\.\d+)+$/.test(name));
  versioned.sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    for (let i = 0; i < Math.max(x.length, y.length); i++) {
      const difference = (y[i] ?? 0) - (x[i] ?? 0);
      if (difference !== 0) return difference;
    }
    return 0;
  });
  return versioned[0] ?? null;
}

/** The model name in /proc/cpuinfo when the processor offers hardware virtualisation, else null. */
export function virtualisingCpu(cpuinfo: string): string | null {
  if (!/^flags\s*:.*\b(vmx|svm)\b/m.test(cpuinfo)) return null;
  return /^model name\s*:\s*(.+)$/m.exec(cpuinfo)?.[1]?.trim() ?? 'unnamed processor';
}

/** KVM only where the processor has it and its device opens: a nested /dev/kvm without either fails at the first instruction. */
async function accelerator(): Promise<{ accel: MachineModel['accel']; cpu: string }> {
  const processor = virtualisingCpu(await readFile('/proc/cpuinfo', 'utf8'));
  if (processor === null) return { accel: 'tcg', cpu: 'max' };
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    // No device, or no right to it: emulation works everywhere.
    return { accel: 'tcg', cpu: 'max' };
  }
  // `max` under KVM is the host's processor: only an equal one can load what it captured.
  return { accel: 'kvm', cpu: `max on ${processor}` };
}

/** The name of a probing QEMU, by which a later agent sweeps it when this one dies meanwhile. */
export const probeName = (runDir: string): string => `guest=probe of ${runDir.replaceAll(',', ',,')}`;

/** How guests' time can be moved ahead here (R25), or why it cannot. */
export type ClockAccess = { readonly timers: Variable } | { readonly timers: null; readonly why: string };

function clockAccess(pid: number, accel: MachineModel['accel']): ClockAccess {
  // The processor counts on through a pause there while kvm-clock stands: moving one of them alone would part them.
  if (accel === 'kvm') return { timers: null, why: 'under KVM the kernel keeps a guest\'s clocks, and moving them is not built yet' };
  const timers = variableOf(`/proc/${pid}/exe`, 'timers_state');
  return timers === null ? { timers, why: 'this build of QEMU does not export timers_state' } : { timers };
}

export interface QemuProbe { readonly identity: HypervisorIdentity; readonly model: MachineModel; readonly clock: ClockAccess }

/** Asks the QEMU binary what it is. Throws `host-unfit` with what is missing. */
export async function probeQemu(qemu: string, runDir: string): Promise<QemuProbe> {
  const process = await QemuProcess.start(
    qemu,
    ['-nodefaults', '-no-user-config', '-display', 'none', '-S', '-machine', 'none', '-name', probeName(runDir),
      '-chardev', `socket,id=qmp,fd=${FD.qmp}`, '-mon', 'chardev=qmp,mode=control'],
    'probe',
  );
  try {
    const [commands, machines, capabilities] = await Promise.all([
      process.qmp.execute('query-commands'), process.qmp.execute('query-machines'), process.qmp.execute('query-migrate-capabilities'),
    ]);
    const missing = [
      ...NEEDED_COMMANDS.filter((name) => !stringsOf(commands, 'name').includes(name)).map((name) => `command ${name}`),
      ...NEEDED_CAPABILITIES.filter((name) => !stringsOf(capabilities, 'capability').includes(name)).map((name) => `capability ${name}`),
    ];
    const machine = newestMachine(stringsOf(machines, 'name'));
    if (machine === null) missing.push('a versioned machine type pc-q35-*');
    if (missing.length > 0 || machine === null) {
      throw new HypervisorError('host-unfit', `${qemu} ${process.version} lacks ${missing.join(', ')}; use the distribution's qemu-system-x86`);
    }
    const { accel, cpu } = await accelerator();
    return { identity: { driver: 'qemu', version: process.version, machine, accel, cpu }, model: { machine, accel, cpu: 'max' }, clock: clockAccess(process.pid, accel) };
  } finally {
    await process.kill();
  }
}

const TMPFS_MAGIC = 0x0102_1994;

/** Guest memory lives in files below `runDir`, and only a tmpfs holds them in memory and lets their pages be tracked. Throws `host-unfit`. */
export async function checkRunDir(runDir: string): Promise<void> {
  let type: number;
  try {
    type = (await statfs(runDir)).type;
  } catch (error) {
    throw new HypervisorError('host-unfit', `run directory ${runDir}: ${reasonOf(error)}; create it on a tmpfs`, { cause: error });
  }
  if (type !== TMPFS_MAGIC) throw new HypervisorError('host-unfit', `run directory ${runDir} is not on a tmpfs; mount one there, as large as the guests' memory`);
}
