import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { LabUnavailable } from './namespaces.js';

const root = join(import.meta.dirname, '..', '..', '..');

/** Ports of a guest's daemons. */
export const GUEST_PORTS = { bank: 7000, bankControl: 7001, patternControl: 7002, redis: 6379 } as const;

export type GuestRole = 'bank' | 'redis';

/** Files of the built guests. */
export interface GuestImages { readonly kernel: string; readonly initrd: Readonly<Record<GuestRole, string>> }

export function guestImages(): GuestImages {
  const folder = join(root, '.cache', 'guests', 'current');
  if (!existsSync(join(folder, 'vmlinuz'))) throw new LabUnavailable('the guests are not built: npm run setup');
  const real = realpathSync(folder);
  return { kernel: join(real, 'vmlinuz'), initrd: { bank: join(real, 'bank.cpio'), redis: join(real, 'redis.cpio') } };
}

const Count = z.int().min(0).max(1_000_000);

/** A fixed load, `bench/loads/<name>.json`: what the guests' daemons do, and what the outside clients ask of Redis. */
export const Load = z.strictObject({
  name: z.string(),
  description: z.string(),
  guest: z.strictObject({
    /** Bank moves per second and guest. */
    moves: Count,
    /** Pages of 4 KiB in the self-checking table, how many are rewritten per second (-1: without end), how many verified. */
    pages: Count.min(1), writes: z.int().min(-1).max(1_000_000), verify: Count,
    /** Percent of a page that does not compress. */
    entropy: z.int().min(0).max(100),
    seed: Count,
    /** 1: a thread uses the rest of the CPU. */
    spin: z.int().min(0).max(1),
    /** Rate of the gap probe in Hz; 1 kHz costs some 17 % of a virtual CPU under emulation. */
    probe: z.int().min(0).max(1_000),
    /** 1: Redis syncs its log before it answers. */
    fsync: z.int().min(0).max(1),
  }),
  client: z.strictObject({ clients: Count.min(1), keys: Count.min(1), value_bytes: Count.min(32), entropy: z.int().min(0).max(100), requests_per_s: Count.min(1), seed: Count }),
});
export type Load = z.infer<typeof Load>;

export function readLoad(name: string): Load {
  const path = join(root, 'bench', 'loads', `${name}.json`);
  if (!/^[a-z-]+$/.test(name) || !existsSync(path)) throw new RangeError(`there is no load "${name}": see bench/loads`);
  return Load.parse(JSON.parse(readFileSync(path, 'utf8')));
}

export interface GuestBoot { readonly address: string; /** Prefix length of its network; default 24. */ readonly bits?: number; readonly peers: readonly string[]; readonly role: GuestRole; readonly load: Load['guest'] }

/** The kernel's command line of a guest. */
export function guestAppend(boot: GuestBoot): string {
  const load = Object.entries(boot.load).map(([key, value]) => `${key}:${value}`).join(',');
  return ['console=ttyS0', 'quiet', 'mitigations=off', 'random.trust_cpu=on', 'ipv6.disable=1',
    `virtcft.ip=${boot.address}/${boot.bits ?? 24}`, `virtcft.peers=${boot.peers.join(',')}`, `virtcft.role=${boot.role}`, `virtcft.load=${load}`].join(' ');
}
