import { command, ip } from '../command.js';
import type { Lab, LabHost } from '../lab.js';
import { MANAGEMENT } from '../site.js';
import { XenHost } from './host.js';

const AGENT_PORT = 2222;
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
  const number = address.slice(MANAGEMENT.prefix.length);
  await ip([
    'link add joint type bridge forward_delay 0 mcast_snooping 0', 'link set joint up',
    'link set mgmt0 master joint', `addr flush dev mgmt0`, `addr add ${host.address}/${MANAGEMENT.bits} dev joint`,
    'tuntap add dom0 mode tap', 'link set dom0 master joint up',
  ], machine);
  // dom0 does not reassemble what the kernel here hands over unfinished.
  await command(['ethtool', '-K', 'joint', 'tx', 'off', 'tso', 'off', 'gso', 'off'], machine);
  return XenHost.boot({
    name, dir: lab.dir,
    place: { machine, network: { tap: 'dom0', mac: `52:54:00:77:00:${Number(number).toString(16).padStart(2, '0')}`, address: `${address}/${MANAGEMENT.bits}` }, connect: () => lab.site.connect(address, AGENT_PORT, 'half-open') },
  });
}

