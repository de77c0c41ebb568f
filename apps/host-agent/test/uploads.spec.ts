import { decodePack } from '@virtcft/checkpoint';
import type { Fabric } from '@virtcft/fabric';
import type { VmCapture } from '@virtcft/hypervisor';
import type { Logger } from '@virtcft/telemetry';
import type { HostCut } from '../src/cut/host-cut.js';
import { Lane } from '../src/cut/lane.js';
import { Uploads } from '../src/cut/uploads.js';
import type { HostedVm } from '../src/disks/hosted-vm.js';
import { ReplicaStoreRefused, ReplicaStoreUnavailable, type ReplicaClient } from '../src/recovery/replica-client.js';

const identity = { driver: 'qemu', version: '7.2', machine: 'pc-q35-7.2', accel: 'tcg', cpu: 'max' } as const;
const context = { cluster: '2f0c4b1e-6a52-4a55-9d3e-0c5b8f1c7a11', host: 'host-a', generation: 1, incarnation: 'ab'.repeat(16), identity, hostNames: new Map([[1, 'host-b']]), baseOf: () => null };
const quiet = { warn: () => undefined, debug: () => undefined } as unknown as Logger;

/** A host with one VM whose encoder records what it was asked for, and a store that answers as told. */
function host(answers: (Error | null)[] = []): { during: { put: () => void }; uploads: Uploads; parents: (number | null)[]; packs: Buffer[]; store: (epoch: number, generation?: number) => ReturnType<Uploads['store']> } {
  const parents: (number | null)[] = [];
  const packs: Buffer[] = [];
  const during = { put: (): void => undefined };
  const vm = {
    spec: { name: 'one', memory_mib: 1, nics: [] },
    encode: async (parent: number | null, epoch: number) => { parents.push(parent); return { section: Buffer.from(`pages ${epoch}`), pages: 1, encode_ms: 0 }; },
    encodeDisks: async (parent: number | null, epoch: number) => [{ name: 'root', bytes: 8192, image: 'ef'.repeat(32), section: Buffer.from(`blocks ${parent} ${epoch}`), blocks: 1 }],
  } as unknown as HostedVm;
  const replicas = { putPack: async (_key: string, parts: readonly Buffer[]) => {
    const answer = answers.shift() ?? null;
    during.put();
    if (answer !== null) throw answer;
    packs.push(Buffer.concat(parts));
  } } as unknown as ReplicaClient;
  const fabric = { channelState: async () => ({ frames: [{ nic: '52:54:00:00:00:01', frame: Buffer.alloc(60, 7) }], down: [1] }) } as unknown as Fabric;
  const uploads = new Uploads(replicas, fabric, new Lane(), quiet);
  uploads.restartAt(1, new Map());
  const capture = (epoch: number): VmCapture => ({ vm: 'one', epoch, runState: 'running', dirtyPages: 3, deviceState: async () => Buffer.from('device') });
  const cut = (epoch: number): HostCut => ({ epoch, captures: [capture(epoch)], pauses: [], verified: { checks: 0, differing: 0 } });
  return { during, uploads, parents, packs, store: (epoch, generation = 1) => uploads.store(cut(epoch), [vm], { ...context, generation }, {}) };
}

describe('uploads', () => {
  it('begin with a full segment, then name the last stored one as parent (R2a)', async () => {
    const { parents, packs, store } = host();
    const first = await store(1);
    const second = await store(2);
    expect(parents).toEqual([null, 1]);
    expect(first?.segments[0]).toMatchObject({ kind: 'full', parent: null, dirty_pages: 3 });
    expect(second?.segments[0]).toMatchObject({ kind: 'delta', parent: first?.segments[0]?.hash });
    expect(second?.channels).toEqual({ frames: 1, down: ['host-b'] });
    expect(packs.map((bytes) => decodePack(bytes).epoch)).toEqual([1, 2]);
    // Disks go the way of the memory: since their image, then since the parent.
    expect(packs.map((bytes) => decodePack(bytes).segments[0]!.disks.map(String))).toEqual([['blocks null 1'], ['blocks 1 2']]);
    expect(second?.segments[0]?.disks).toEqual([{ name: 'root', bytes: 8192, image: 'ef'.repeat(32) }]);
  });

  it('a cut that was not stored is merged into the next: the parent stays the last stored one', async () => {
    const { parents, store } = host([null, new ReplicaStoreRefused('no', 400), null]);
    await store(1);
    await expect(store(2)).rejects.toThrow('no');
    await store(3);
    expect(parents).toEqual([null, 1, 1]);
  });

  it('an outage is waited out with the bytes encoded once (R24)', async () => {
    const { parents, packs, store } = host([new ReplicaStoreUnavailable('away', 503), new ReplicaStoreUnavailable('away', null), null]);
    expect(await store(1)).not.toBeNull();
    expect(parents).toEqual([null]);
    expect(packs).toHaveLength(1);
  });

  it('say why the store does not take a pack while it does not (R24)', async () => {
    const { uploads, store, during } = host([new ReplicaStoreUnavailable('PUT: 500 AccessDenied', 500, 'AccessDenied'), null]);
    const said: (string | null)[] = [];
    during.put = () => void said.push(uploads.failure);
    await store(1);
    expect([...said, uploads.failure]).toEqual([null, 'AccessDenied', null]);
  });

  it('the end of a generation ends the tries; what follows begins where the restored cut stands', async () => {
    const { uploads, parents, store } = host([new ReplicaStoreUnavailable('away', 503)]);
    const given = store(1);
    await new Promise((resolve) => setTimeout(resolve, 10));
    uploads.restartAt(2, new Map([['one', { epoch: 9, segment: 'cd'.repeat(32) }]]));
    expect(await given).toBeNull();
    const after = await store(10, 2);
    expect(parents.at(-1)).toBe(9);
    expect(after?.segments[0]).toMatchObject({ kind: 'delta', parent: 'cd'.repeat(32) });
  });

  it('a pack that is stored after its generation ended is nobody\'s parent (R2a)', async () => {
    const { uploads, parents, store, during } = host();
    during.put = () => uploads.restartAt(2, new Map([['one', { epoch: 9, segment: 'cd'.repeat(32) }]]));
    expect(await store(1)).toBeNull();
    during.put = () => undefined;
    expect((await store(10, 2))?.segments[0]).toMatchObject({ kind: 'delta', parent: 'cd'.repeat(32) });
    expect(parents).toEqual([null, 9]);
  });
});
