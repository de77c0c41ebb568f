import { cpus, totalmem } from 'node:os';
import { Name } from '@virtcft/events';
import { z } from 'zod';

/** The agent's environment. */
export const environment = z.object({
  VIRTCFT_HOST: Name.describe('this host\'s name, as cluster files write it'),
  VIRTCFT_RUN_DIR: z.string().regex(/^\//).max(60).default('/run/virtcft').describe('a tmpfs folder for guest memory and sockets; at most 60 characters, since socket paths are short'),
  VIRTCFT_SWAP: z.enum(['refuse', 'allow']).default('refuse').describe('whether guests may run where their memory could be swapped to a disk that is not encrypted'),
  VIRTCFT_DISK_DIR: z.string().regex(/^\//).optional().describe('a folder for the disks of guests, this agent\'s alone: it is emptied when the agent starts; default `disks` below the run folder'),
  VIRTCFT_TUNNEL_ADDRESS: z.ipv4().describe('the address other hosts reach this one under'),
  VIRTCFT_TUNNEL_BIND: z.ipv4().optional().describe('the address of this host that tunnels listen on, when others reach it under another one; default VIRTCFT_TUNNEL_ADDRESS'),
  VIRTCFT_TUNNEL_PORT: z.coerce.number().int().min(1).max(65_535).default(4789).describe('UDP port of the fabric\'s tunnels'),
  VIRTCFT_TUNNEL_SECRET_FILE: z.string().regex(/^\//, 'give an absolute path').describe('a file of at least 32 random bytes, the same on all hosts and readable by the agent only; made by `(umask 077; head -c 32 /dev/urandom > FILE)`. Tunnels are authenticated with it'),
  VIRTCFT_EDGE: z.string().max(15).optional().describe('interface on the outside segment; without it the guests reach nobody outside'),
  VIRTCFT_REPLICA_STORE_URL: z.url().default('http://127.0.0.1:7780').describe('where packs are put and pages are read'),
  VIRTCFT_MEMORY_MIB: z.coerce.number().int().min(64).default(Math.floor(totalmem() / 1024 / 1024 * 0.8)).describe('memory this host gives to guests, their bases and layers'),
  VIRTCFT_VCPUS: z.coerce.number().int().min(1).default(cpus().length).describe('virtual CPUs this host offers'),
  VIRTCFT_QEMU: z.string().default('qemu-system-x86_64').describe('the hypervisor\'s binary'),
});
export type AgentConfiguration = z.infer<typeof environment>;
