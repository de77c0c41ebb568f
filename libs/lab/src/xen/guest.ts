import { setTimeout as sleep } from 'node:timers/promises';
import { basename, dirname, join } from 'node:path';
import type { Cable, Plug } from './emulator.js';
import type { XenHost } from './host.js';
import { CREATE_PATIENCE_S, PLUG_PATIENCE_MS } from './limits.js';

const FOLDER = '/var/lib/virtcft';
/** dom0's disk with a serial number: the guest's is whatever dom0 called it. */
const FIND_DISK = 'for place in /sys/block/vd*; do [ "$(cat "$place/serial" 2>/dev/null)" = "$1" ] && echo "${place##*/}"; done; true';

/** A guest that boots as PVH from a kernel and an initramfs of ours. */
export interface XenGuestSpec {
  /** Letters, digits and dashes. */
  readonly name: string;
  readonly memory_mib: number;
  /** Files here; copied into dom0 once for each host. An unpacked kernel (vmlinux) is loaded soonest. */
  readonly kernel: string;
  readonly initrd: string;
  /** With `console=hvc0`, or nothing is seen of it. */
  readonly append: string;
  readonly nics?: readonly Cable[];
  /** In the guest's order: xvda, xvdb. */
  readonly disks?: readonly Plug[];
}

/** A PVH guest of a Xen host of the lab. Whoever creates it destroys it, or closes its host. */
export class XenGuest {
  private constructor(private readonly host: XenHost, readonly spec: XenGuestSpec, /** Xen's number of it, until it is suspended or destroyed. */ readonly domain: number) {}

  /** Runs when this returns; its kernel boots. Error with what `xl` says. */
  static async create(host: XenHost, spec: XenGuestSpec): Promise<XenGuest> {
    if (!/^[a-z0-9][a-z0-9-]{0,38}$/.test(spec.name)) throw new RangeError(`"${spec.name}" is no name of a guest: small letters, digits and dashes`);
    const [kernel, initrd] = [await bring(host, spec.kernel), await bring(host, spec.initrd)];
    const machine = await host.machine();
    for (const cable of spec.nics ?? []) await machine.plugCable(cable);
    const disks: string[] = [];
    for (const disk of spec.disks ?? []) {
      await machine.plugDisk(disk);
      disks.push(await diskOf(host, disk.name));
    }
    const file = join(FOLDER, `${spec.name}.cfg`);
    await host.output(['sh', '-ec', 'cat > "$1"; timeout "$2" xl create -q "$1"', 'create', file, String(CREATE_PATIENCE_S)], xlFile(spec, { kernel, initrd, disks }));
    return new XenGuest(host, spec, Number((await host.output(['xl', 'domid', spec.name])).trim()));
  }

  /** What it has printed. */
  console(): Promise<string> { return this.host.output(['cat', `/var/log/xen/guest-${this.spec.name}.log`]); }

  /** Until its console says something; Error with its end when it does not within the time. */
  async says(what: string | RegExp, patience_ms: number): Promise<string> {
    for (const until_ms = performance.now() + patience_ms; ;) {
      const text = await this.console().catch(() => '');
      if (typeof what === 'string' ? text.includes(what) : what.test(text)) return text;
      if (performance.now() > until_ms) throw new Error(`guest ${this.spec.name} has not said ${String(what)} within ${patience_ms / 1_000} s. Its console ends with:\n${text.trimEnd().split('\n').slice(-15).join('\n')}`);
      await sleep(500);
    }
  }

  async destroy(): Promise<void> {
    await this.host.output(['xl', 'destroy', this.spec.name]);
    const machine = await this.host.machine();
    for (const { mac } of this.spec.nics ?? []) await machine.unplugCable(mac);
    for (const { name } of this.spec.disks ?? []) await machine.unplugDisk(name);
  }
}

/** xl's file of a guest. */
export function xlFile(spec: XenGuestSpec, { kernel, initrd, disks }: { readonly kernel: string; readonly initrd: string; readonly disks: readonly string[] }): string {
  const quoted = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  const list = (items: readonly string[]): string => `[${items.map(quoted).join(', ')}]`;
  return [
    `name = ${quoted(spec.name)}`, 'type = "pvh"', `kernel = ${quoted(kernel)}`, `ramdisk = ${quoted(initrd)}`, `extra = ${quoted(spec.append)}`,
    `memory = ${spec.memory_mib}`, 'vcpus = 1', 'on_crash = "preserve"',
    `vif = ${list((spec.nics ?? []).map(({ mac }) => `mac=${mac},script=cable`))}`,
    `disk = ${list(disks.map((disk, i) => `phy:/dev/${disk},xvd${String.fromCodePoint(0x61 + i)},w`))}`, '',
  ].join('\n');
}

/** A file of ours in dom0. Its folder's name goes with it: two builds' files have the same. */
async function bring(host: XenHost, file: string): Promise<string> {
  const path = join(FOLDER, basename(dirname(file)), basename(file));
  if ((await host.exec(['test', '-e', path])).code !== 0) await host.put(file, path);
  return path;
}

async function diskOf(host: XenHost, name: string): Promise<string> {
  for (const until_ms = performance.now() + PLUG_PATIENCE_MS; performance.now() < until_ms; await sleep(200)) {
    const found = (await host.output(['sh', '-c', FIND_DISK, 'find', name])).trim();
    if (found !== '') return found;
  }
  throw new Error(`dom0 of ${host.name} does not find the disk ${name} that was plugged in`);
}
