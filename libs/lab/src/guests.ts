import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { LabUnavailable } from './namespaces.js';

const root = join(import.meta.dirname, '..', '..', '..');

/** Ports of a guest's daemons. */
export const GUEST_PORTS = { bank: 7000, bankControl: 7001, patternControl: 7002, vector: 7003, vectorControl: 7004, history: 7005, blocksControl: 7006, database: 7007, redis: 6379 } as const;

export type GuestRole = 'bank' | 'redis' | 'database';

/** Files of the built guests. */
export interface GuestImages {
  readonly kernel: string;
  /** The same unpacked, as Xen's tools load it soonest. */
  readonly plainKernel: string;
  readonly initrd: Readonly<Record<GuestRole, string>>;
  /** Raw disks of a database guest, in order: /dev/vda with its file system, /dev/vdb for the blocks daemon. Never written: a guest gets copies. */
  readonly disks: { readonly data: string; readonly blocks: string };
}

export function guestImages(): GuestImages {
  const folder = join(root, '.cache', 'guests', 'current');
  if (!existsSync(join(folder, 'vmlinuz'))) throw new LabUnavailable('the guests are not built: npm run setup');
  const real = realpathSync(folder);
  return {
    kernel: join(real, 'vmlinuz'), plainKernel: join(real, 'vmlinux'), initrd: { bank: join(real, 'bank.cpio'), redis: join(real, 'redis.cpio'), database: join(real, 'database.cpio') },
    disks: { data: join(real, 'database.img'), blocks: join(real, 'blocks.img') },
  };
}

const Count = z.int().min(0).max(1_000_000);

/** A fixed load, `bench/loads/<name>.json`: what the guests' daemons do, and what the outside clients ask of Redis. */
export const Load = z.strictObject({
  name: z.string(),
  description: z.string(),
  guest: z.strictObject({
    /** Bank moves per second and guest. */
    moves: Count,
    /** Messages per second from each guest to each other, over a connection and as a datagram each. */
    messages: Count,
    /** Pages of 4 KiB in the self-checking table, how many are rewritten per second (-1: without end), how many verified. */
    pages: Count.min(1), writes: z.int().min(-1).max(1_000_000), verify: Count,
    /** Percent of a page that does not compress. */
    entropy: z.int().min(0).max(100),
    seed: Count,
    /** 1: a thread uses the rest of the CPU. */
    spin: z.int().min(0).max(1),
    /** Rate of the gap probe in Hz; 1 kHz costs some 17 % of a virtual CPU under emulation. */
    probe: z.int().min(0).max(1_000),
    /** 1: Redis syncs its log before it answers, and the blocks daemon its disk after each block. */
    fsync: z.int().min(0).max(1),
  }),
  client: z.strictObject({
    clients: Count.min(1), keys: Count.min(1), value_bytes: Count.min(32), entropy: z.int().min(0).max(100), requests_per_s: Count.min(1), seed: Count,
    /** Entries per second that outside clients append to the guests' histories, all together. */
    appends_per_s: Count.min(1),
  }),
  /** A further guest with two disks: a database on a file system, and self-checking blocks on a raw disk. */
  disks: z.strictObject({
    /** Blocks of 4 KiB, how many are rewritten per second, how many verified. */
    blocks: Count.min(1), block_writes: Count, block_verify: Count,
    /** Outside clients that commit transactions, each one after the other, and how many they commit per second together. */
    clients: Count.min(1).max(6), transactions_per_s: Count.min(1),
  }).optional(),
});
export type Load = z.infer<typeof Load>;

export function readLoad(name: string): Load {
  const path = join(root, 'bench', 'loads', `${name}.json`);
  if (!/^[a-z-]+$/.test(name) || !existsSync(path)) throw new RangeError(`there is no load "${name}": see bench/loads`);
  return Load.parse(JSON.parse(readFileSync(path, 'utf8')));
}

export interface GuestBoot { /** Under Xen hvc0. */ readonly console?: 'ttyS0' | 'hvc0'; readonly address: string; /** Prefix length of its network; default 24. */ readonly bits?: number; readonly peers: readonly string[]; readonly role: GuestRole; readonly load: Load['guest']; /** Of a database guest. */ readonly disks?: Load['disks'] }

/** The kernel's command line of a guest. */
export function guestAppend(boot: GuestBoot): string {
  const { blocks, block_writes, block_verify } = boot.disks ?? {};
  const load = Object.entries({ ...boot.load, ...(boot.disks === undefined ? {} : { blocks, block_writes, block_verify }) }).map(([key, value]) => `${key}:${value}`).join(',');
  return [`console=${boot.console ?? 'ttyS0'}`, 'quiet', 'mitigations=off', 'random.trust_cpu=on', 'ipv6.disable=1',
    `virtcft.ip=${boot.address}/${boot.bits ?? 24}`, `virtcft.peers=${boot.peers.join(',')}`, `virtcft.role=${boot.role}`, `virtcft.load=${load}`].join(' ');
}
