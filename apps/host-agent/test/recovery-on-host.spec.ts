import { encodeManifest } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import type { VmImage } from '@virtcft/hypervisor';
import type { Uploads } from '../src/cut/uploads.js';
import type { HeldVms } from '../src/held-vms.js';
import type { HostContext } from '../src/host-context.js';
import { RecoveryOnHost } from '../src/recovery/recovery-on-host.js';
import { ReplicaStoreRefused, ReplicaStoreUnavailable } from '../src/recovery/replica-client.js';

const cluster = '2f0c4b1e-6a52-4a55-9d3e-0c5b8f1c7a11';
const root = { name: 'root', bytes: 8192, image: 'ef'.repeat(32) };
const manifest = encodeManifest({
  format: 'virtcft/cut/1', cluster, generation: 1, incarnation: 'ab'.repeat(16), epoch: 9, previous: null,
  vms: { one: { host: 'host-a', segment: 'cd'.repeat(32), kind: 'full', runState: 'running', memory_bytes: 1_048_576, disks: [root] } }, packs: [],
});
const basis: CutRef = { key: manifest.key, hash: manifest.hash, generation: 1, epoch: 9 };

/** A host whose one VM is, or is not yet, filled; and a replica store that answers as told. */
function scene(answers: Error[], vm: { filled: boolean; kept: boolean; damaged?: boolean }): { recovery: RecoveryOnHost; done: string[]; tips: unknown[]; images: VmImage[] } {
  const done: string[] = [];
  const images: VmImage[] = [];
  const tips: unknown[] = [];
  const state = { state: Buffer.from('device'), runState: 'running' };
  let held: object | undefined = { filling: !vm.filled, rollback: async (image: VmImage) => { done.push('rollback'); images.push(image); if (vm.damaged === true) throw new Error('a layer is missing'); } };
  const host = {
    cluster, log: { warn: () => undefined }, fabric: { inject: async () => { done.push('inject'); } },
    driver: { load: async (_spec: unknown, _nics: unknown, image: VmImage) => { done.push('load'); images.push(image); return {}; } },
    replicas: {
      manifest: async () => manifest.bytes, pages: () => ({}),
      channel: async () => { done.push('channel'); const answer = answers.shift(); if (answer !== undefined) throw answer; return []; },
      device: async () => { done.push('device'); return state; },
    },
    disks: { load: async (_cluster: string, _vm: unknown, _cut: CutRef, disks: unknown) => { done.push('disks'); expect(disks).toEqual([root]); return []; }, attachments: () => [] },
    held: {
      definitionOf: () => ({}), macs: [], get: () => held, device: () => (vm.kept ? state : undefined), onlyDevice: () => undefined, put: () => undefined, specOf: () => ({}),
      drop: async () => { held = undefined; done.push('drop'); }, attachments: { attach: async () => [] },
    } as unknown as HeldVms,
  } as unknown as HostContext;
  const uploads = { restartAt: (generation: number, at: unknown) => tips.push([generation, at]) } as unknown as Uploads;
  return { recovery: new RecoveryOnHost(host, uploads, () => undefined), done, tips, images };
}

describe('a recovery on one host', () => {
  it('rolls a survivor back in place; its chain goes on from the basis (R1, R2a)', async () => {
    const { recovery, done, tips } = scene([], { filled: true, kept: true });
    await recovery.load(basis, ['one'], 2, 0);
    expect(done).toEqual(['channel', 'rollback', 'inject']);
    expect(tips).toEqual([[2, new Map([['one', { epoch: 9, segment: 'cd'.repeat(32) }]])]]);
  });

  it('moves all clocks ahead by the offset of the generation, and counts from one moment, rolled back or loaded (R25)', async () => {
    const { recovery, images } = scene([new ReplicaStoreUnavailable('it folds', 503)], { filled: true, kept: true, damaged: true });
    const before_ms = performance.now();
    await recovery.load(basis, ['one'], 2, 640);
    expect(images.map(({ epoch, ahead_ms }) => [epoch, ahead_ms])).toEqual([[9, 640], [9, 640]]);
    expect(images[0]!.asked_ms).toBeGreaterThanOrEqual(before_ms);
    expect(images[1]!.asked_ms).toBe(images[0]!.asked_ms);
  });

  it('loads anew what cannot be rolled back in place, instead of failing each attempt on the basis (R17)', async () => {
    const { recovery, done } = scene([], { filled: true, kept: true, damaged: true });
    await recovery.load(basis, ['one'], 2, 0);
    expect(done).toEqual(['channel', 'rollback', 'drop', 'device', 'disks', 'load', 'inject']);
  });

  it('gives up a VM that is still being filled before it asks for anything: its stream would hold the replica at an old cut', async () => {
    const { recovery, done } = scene([], { filled: false, kept: true });
    await recovery.load(basis, ['one'], 2, 0);
    expect(done).toEqual(['drop', 'channel', 'device', 'disks', 'load', 'inject']);
  });

  it('waits for a replica store that is away for a moment, and is not refused by it', async () => {
    const { recovery, done } = scene([new ReplicaStoreUnavailable('refused', null), new ReplicaStoreUnavailable('it folds', 503)], { filled: true, kept: true });
    await recovery.load(basis, ['one'], 2, 0);
    expect(done.filter((what) => what === 'channel')).toHaveLength(3);
    expect(done.at(-1)).toBe('inject');
    await expect(scene([new ReplicaStoreRefused('no such cut', 404)], { filled: true, kept: true }).recovery.load(basis, ['one'], 2, 0)).rejects.toThrow('no such cut');
  });

  it('waits no more once the next raise gives it up', async () => {
    const { recovery, done } = scene(Array.from({ length: 1_000 }, () => new ReplicaStoreUnavailable('away', null)), { filled: true, kept: true });
    const loading = recovery.load(basis, ['one'], 2, 0);
    recovery.giveUp();
    await expect(loading).rejects.toThrow('away');
    expect(done).not.toContain('rollback');
  });
});
