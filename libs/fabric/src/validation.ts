import { isIP, isIPv4 } from 'node:net';
import type { ChannelFrame, FabricGeneration, FabricOptions, FabricPort } from '@virtcft/native';

import { FabricError } from './errors.js';
import { LIMITS } from './limits.js';

/** How a fabric is opened: what has no reason to differ has a default. */
export interface FabricSettings {
  /** The cluster's UUID, or its 32 hexadecimal digits. */
  readonly cluster: string;
  /** This host's number in the cluster, 0..255. */
  readonly host: number;
  /** The UUID of this life of the host's agent: what peers are wired to. */
  readonly life: string;
  /** The hosts' shared secret (see readSecret). */
  readonly secret: Buffer;
  readonly tunnel: { readonly address: string; readonly port: number };
  /** The interface to the outside, or null: nothing leaves. */
  readonly edge: string | null;
  readonly mtu?: number;
  readonly heldOutputBytes?: number;
  readonly heldOutputAge_ms?: number;
  readonly portQueueFrames?: number;
}

function wrong(what: string, value: unknown, expected: string): never {
  throw new FabricError('EINVAL', `${what} is ${JSON.stringify(value) ?? String(value)}: it must be ${expected}`);
}

function integer(what: string, value: number, least: number, most: number): number {
  return Number.isSafeInteger(value) && value >= least && value <= most ? value : wrong(what, value, `a whole number from ${least} to ${most}`);
}

const mtuOf = (value: number): number => integer('mtu', value, LIMITS.mtu_least, LIMITS.mtu_most);
const heldOutputOf = (value: number): number => integer('heldOutputBytes', value, LIMITS.heldOutput_bytes_least, LIMITS.heldOutput_bytes_most);
const given = (value: number | null | undefined, check: (value: number) => number): number | null => (value === null || value === undefined ? null : check(value));

export function hostNumber(what: string, value: number): number {
  return integer(what, value, 0, LIMITS.host_most);
}

/** Lower-case, as every part of the project compares it. */
export function mac(what: string, value: string): string {
  const text = String(value).toLowerCase();
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(text)) wrong(what, value, 'six hexadecimal pairs with colons');
  if ((Number.parseInt(text.slice(0, 2), 16) & 1) !== 0) wrong(what, value, 'the address of one NIC (the first octet is even)');
  return text === '00:00:00:00:00:00' ? wrong(what, value, 'a real address') : text;
}

export function identity(what: string, value: string): string {
  const text = String(value).toLowerCase();
  const digits = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text) ? text.replaceAll('-', '') : text;
  return /^[0-9a-f]{32}$/.test(digits) ? digits : wrong(what, value, 'a UUID or 32 hexadecimal digits');
}

function endpoint<T extends { address: string; port: number }>(what: string, value: T): T {
  if (isIP(value.address) === 0) wrong(`${what}.address`, value.address, 'an IPv4 or IPv6 address');
  integer(`${what}.port`, value.port, 1, 65_535);
  return value;
}

function path(what: string, value: string): string {
  const fits = typeof value === 'string' && value.startsWith('/') && !value.includes('\0') && Buffer.byteLength(value) <= LIMITS.path_bytes;
  return fits ? value : wrong(what, value, `an absolute path of at most ${LIMITS.path_bytes} bytes (a unix socket's limit)`);
}

export function epochNumber(value: number): number {
  return integer('epoch', value, 1, Number.MAX_SAFE_INTEGER - 1);
}

export function colourNumber(what: string, value: number): number {
  return integer(what, value, 0, Number.MAX_SAFE_INTEGER - 1);
}

export function timeout(value: number): number {
  return integer('timeout_ms', value, 0, LIMITS.channelTimeout_ms_most);
}

export function ipOrNull(value: string | null): string | null {
  return value === null || isIPv4(value) ? value : wrong('ip', value, 'an IPv4 address or null');
}

/** Never shows it. */
function secret(value: Buffer): Buffer {
  const { secret_bytes_least: least, secret_bytes_most: most } = LIMITS;
  if (Buffer.isBuffer(value) && value.length >= least && value.length <= most) return value;
  throw new FabricError('EINVAL', `secret is not what it must be: a Buffer of ${least} to ${most} bytes`);
}

export function fabricOptions(settings: FabricSettings): FabricOptions {
  const edge = settings.edge === null ? null : interfaceName('edge', settings.edge, 'the name of an interface, or null');
  return {
    cluster: identity('cluster', settings.cluster),
    host: hostNumber('host', settings.host),
    life: identity('life', settings.life),
    secret: secret(settings.secret),
    tunnel: endpoint('tunnel', { address: settings.tunnel.address, port: settings.tunnel.port }),
    edge,
    mtu: mtuOf(settings.mtu ?? LIMITS.mtu),
    heldOutputBytes: heldOutputOf(settings.heldOutputBytes ?? LIMITS.heldOutput_bytes),
    heldOutputAge_ms: integer('heldOutputAge_ms', settings.heldOutputAge_ms ?? LIMITS.heldOutputAge_ms, LIMITS.heldOutputAge_ms_least, LIMITS.heldOutputAge_ms_most),
    portQueueFrames: integer('portQueueFrames', settings.portQueueFrames ?? LIMITS.portQueue_frames, LIMITS.portQueue_frames_least, LIMITS.portQueue_frames_most),
  };
}

/** A generation's wiring. MTU and bound are those of the settings where they are not given. */
export type FabricWiring = Omit<FabricGeneration, 'mtu' | 'heldOutputBytes'> & Partial<Pick<FabricGeneration, 'mtu' | 'heldOutputBytes'>>;

export function generationWiring(generation: FabricWiring): FabricGeneration {
  const macs = generation.macs.map((each) => ({ mac: mac('macs[].mac', each.mac), host: hostNumber('macs[].host', each.host) }));
  const twice = macs.find((each, i) => macs.findIndex((other) => other.mac === each.mac) !== i);
  if (twice) wrong('macs', twice.mac, 'a list in which every MAC stands once');
  const peers = generation.peers.map((peer) => endpoint('peers[]', { host: hostNumber('peers[].host', peer.host), life: identity('peers[].life', peer.life), address: peer.address, port: peer.port }));
  if (new Set(peers.map((peer) => peer.host)).size !== peers.length) wrong('peers', peers.map((peer) => peer.host), 'a list in which every host stands once');
  return {
    generation: integer('generation', generation.generation, 1, Number.MAX_SAFE_INTEGER),
    incarnation: identity('incarnation', generation.incarnation),
    colour: colourNumber('colour', generation.colour),
    peers,
    macs,
    mtu: given(generation.mtu, mtuOf),
    heldOutputBytes: given(generation.heldOutputBytes, heldOutputOf),
  };
}

function interfaceName(what: string, value: string, expected: string): string {
  return /^[^\s/:%]+$/.test(value) && Buffer.byteLength(value) <= LIMITS.interface_bytes ? value : wrong(what, value, expected);
}

export function port(value: FabricPort): FabricPort {
  if ('tap' in value) return { nic: mac('nic', value.nic), tap: interfaceName('tap', value.tap, 'the name of an interface') };
  const checked = { nic: mac('nic', value.nic), path: path('path', value.path), peerPath: path('peerPath', value.peerPath) };
  if (checked.path === checked.peerPath) wrong('peerPath', value.peerPath, 'another path than the fabric\'s own');
  return checked;
}

export function channelFrames(frames: readonly ChannelFrame[]): ChannelFrame[] {
  return frames.map(({ nic, frame }) => ({ nic: mac('frames[].nic', nic), frame }));
}
