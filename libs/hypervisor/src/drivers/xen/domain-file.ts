import { HypervisorError } from '../../errors.js';
import type { VmSpec } from '../../port.js';

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/** What this driver cannot run is refused by name: `spec-invalid`. `cabling`: something carries the frames of NICs. */
export function checkXenSpec(spec: VmSpec, cabling: boolean): void {
  const refuse = (what: string): never => { throw new HypervisorError('spec-invalid', `VM ${spec.name}: ${what}`); };
  if (!NAME.test(spec.name)) refuse('a name of small letters, digits and dashes, at most 63');
  if (!Number.isInteger(spec.memory_mib) || spec.memory_mib < 16) refuse(`${spec.memory_mib} MiB of memory: at least 16, whole`);
  if (!Number.isInteger(spec.vcpus) || spec.vcpus < 1 || spec.vcpus > 128) refuse(`${spec.vcpus} vCPUs: 1 to 128`);
  if (spec.nics.length > 0 && !cabling) refuse('NICs, and nothing here carries frames between a vif and the switch (the driver\'s option `cabling`)');
  for (const { mac } of spec.nics) if (!MAC.test(mac)) refuse(`"${mac}" is no address of a NIC: 52:54:00:00:00:01`);
  if ((spec.disks ?? []).length > 0) refuse('the Xen driver gives no disks yet');
  for (const text of [spec.kernel, spec.initrd ?? '', spec.append]) {
    if (/["\\\n]/.test(text)) refuse('a quotation mark, backslash or line feed in a path or the command line');
  }
}

/** xl's configuration of a domain that ends as it ends: whoever protects it wants to see how. `script` ties its vifs. */
export function domainFile(spec: VmSpec, script = ''): string {
  return [
    `name="${spec.name}"`, 'type="pvh"', `kernel="${spec.kernel}"`, ...(spec.initrd === null ? [] : [`ramdisk="${spec.initrd}"`]), `extra="${spec.append}"`,
    `memory=${spec.memory_mib}`, `vcpus=${spec.vcpus}`, `vif=[${spec.nics.map(({ mac }) => `"mac=${mac},script=${script}"`).join(', ')}]`, 'on_poweroff="preserve"', 'on_reboot="preserve"', 'on_crash="preserve"', 'on_watchdog="preserve"', '',
  ].join('\n');
}

/** `key : value` lines of `xl info`. */
export function xlInfo(text: string): ReadonlyMap<string, string> {
  return new Map([...text.matchAll(/^(\w+)\s*: *(.*)$/gm)].map(([, key = '', value = '']) => [key, value]));
}

/** Names and conditions of `virtcft-xen list`. */
export function listed(text: string): { readonly domain: number; readonly name: string }[] {
  return [...text.matchAll(/^domain=(\d+) name=(\S*) /gm)].map(([, domain, name = '']) => ({ domain: Number(domain), name }));
}
