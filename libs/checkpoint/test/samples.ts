import { createHash } from 'node:crypto';
import { ClusterSpec } from '@virtcft/events';
import type { Definition, Manifest, PackContent, SegmentHeader } from '../src/index.js';

export const cluster = '3f0c4a52-7a0e-4d0a-9f39-0d6c1f2b7a11';
export const incarnation = '00112233445566778899aabbccddeeff';
export const identity = { driver: 'qemu', version: '7.2.0', machine: 'pc-q35-7.2', accel: 'tcg', cpu: 'max' } as const;

/** Bytes that look random and are the same every time. */
export function noise(seed: string, bytes: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(bytes / 32) }, (_, at) => createHash('sha256').update(`${seed}/${at}`).digest());
  return Buffer.concat(blocks).subarray(0, bytes);
}

export const header = (change: Partial<SegmentHeader> = {}): SegmentHeader => ({
  cluster, vm: 'bank-1', generation: 3, incarnation, epoch: 42, parent: null, kind: 'full', runState: 'running', memory_bytes: 134_217_728, identity, disks: [], ...change,
});

/** Two disks, one of which begins with an image, and what stands for their block sections. */
export const disks = [{ name: 'root', bytes: 2_117_632, image: 'cd'.repeat(32) }, { name: 'data', bytes: 4096, image: null }];
export const blocks = [noise('root', 900), noise('data', 300)];

export const packContent = (segments: PackContent['segments']): PackContent => ({
  cluster, generation: 3, incarnation, epoch: 42, host: 'host-a', segments,
  channel: [{ nic: '52:54:00:00:00:01', frame: noise('frame', 60) }, { nic: '52:54:00:00:00:02', frame: noise('long', 1514) }], down: ['host-c'],
});

export const manifest = (pack: { key: string; hash: string; bytes: Buffer }, segment: string): Manifest => ({
  format: 'virtcft/cut/1', cluster, generation: 3, incarnation, epoch: 42, previous: 'ab'.repeat(32),
  vms: { 'bank-1': { host: 'host-a', segment, kind: 'full', runState: 'running', memory_bytes: 134_217_728, disks } },
  packs: [{ host: 'host-a', epoch: 42, key: pack.key, hash: pack.hash, bytes: pack.bytes.length }],
});

const spec = ClusterSpec.parse({
  apiVersion: 'virtcft/v1', name: 'shop', hosts: ['host-a', 'host-b'],
  vms: [{ name: 'bank-1', memory_mib: 128, kernel: '/srv/vmlinuz', mac: '52:54:00:00:00:01', address: '10.0.0.11', disks: [{ name: 'root', source: '/srv/root.img' }] }],
  retention: { last: 100, hours: 24 }, policies: { data_loss: 'rollback' },
});

export const definition = (change: Partial<Definition> = {}): Definition => ({
  format: 'virtcft/definition/1', cluster, version: 7, spec, protected: true, stopped: false,
  pins: [{ name: 'before-upgrade', by: 'olga', cut: { key: `${cluster}/cuts/0000000003-000000000042-${'cd'.repeat(32)}`, hash: 'cd'.repeat(32), generation: 3, epoch: 42 } }], ...change,
});
