import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { GUEST_PORTS, guestAppend, guestImages, readLoad } from '@virtcft/lab';
import { z } from 'zod';
import { PATIENCE_MS, ProtectedCluster, type Guest } from './protected-cluster.js';

const guests: Guest[] = [{ name: 'database', role: 'database', host: 'alpha', memory_mib: 128 }];
const Committed = z.object({ committed: z.boolean() });
const Rows = z.object({ rows: z.array(z.tuple([z.number(), z.string()])) });

// One database lives through everything below, in this order.
describe('the disks of a protected cluster', () => {
  let cluster: ProtectedCluster;
  let file: string;
  const ask = <T>(command: string, schema: z.ZodType<T>): Promise<T> => cluster.ask(cluster.address('database'), GUEST_PORTS.database, command, schema);
  const commit = async (number: number): Promise<void> => { expect(await ask(`commit 0 ${number} ${'ab'.repeat(8)}${number}`, Committed)).toEqual({ committed: true }); };
  const rows = async (): Promise<number[]> => (await ask('read 0 1', Rows)).rows.map(([number]) => number);

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts: ['alpha', 'beta'], memory_mib: 2048 });
    const images = guestImages();
    const qcow2 = join(cluster.lab.dir, 'data.qcow2');
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', images.disks.data, qcow2]);
    file = cluster.file('ledger', guests, {}, ['alpha', 'beta']);
    const load = readLoad('database');
    const disks = [{ name: 'data', source: qcow2, format: 'qcow2' as const }, { name: 'blocks', source: images.disks.blocks }];
    const append = guestAppend({ address: cluster.address('database'), peers: [cluster.address('database')], role: 'database', load: { ...load.guest, probe: 0 }, disks: load.disks });
    file = cluster.file('ledger', guests, {
      vms: [{ name: 'database', host: 'alpha', memory_mib: 128, kernel: images.kernel, initrd: images.initrd.database, mac: '52:54:00:99:00:00', address: cluster.address('database'), append, disks }],
    }, ['alpha', 'beta']);
    const applied = await cluster.virtcft('apply', '-f', file, '--wait');
    if (applied.code !== 0) throw new Error(applied.err);
    await commit(1);
  }, 4 * PATIENCE_MS);
  afterAll(async () => { await cluster.close(); }, PATIENCE_MS);
  afterEach(() => { expect(cluster.installation.fallen()).toEqual([]); });

  it('go with their guest to another host when theirs dies', async () => {
    await commit(2);
    const { generation } = cluster.watch.state;
    await cluster.installation.killHost('alpha');
    await cluster.recovered(generation);
    expect(cluster.watch.state.placement).toEqual({ database: 'beta' });
    expect(await rows()).toEqual([1, 2]);
    await commit(3);
    await cluster.installation.startHost('alpha');
  }, 4 * PATIENCE_MS);

  it('are those of the last cut when the cluster is stopped and started again, never the images', async () => {
    await commit(4);
    const { generation } = cluster.watch.state;
    expect((await cluster.virtcft('stop', '--yes')).code).toBe(0);
    await cluster.watch.until('the cluster is stopped', PATIENCE_MS, () => cluster.watch.state.stage === 'stopped');
    const applied = await cluster.virtcft('apply', '-f', file, '--wait');
    expect(applied.err).toBe('');
    await cluster.watch.until('the cluster runs again', PATIENCE_MS, () => cluster.watch.state.generation > generation && cluster.watch.state.stage === 'running');
    // Booted anew: the file system was mounted and its journal replayed.
    expect(await rows()).toEqual([1, 2, 3, 4]);
    await commit(5);
    await cluster.commits(2);
  }, 4 * PATIENCE_MS);

  it('an image that is none is told by name, with what is wrong', async () => {
    expect((await cluster.virtcft('stop', '--yes')).code).toBe(0);
    await cluster.watch.until('the cluster is stopped', PATIENCE_MS, () => cluster.watch.state.stage === 'stopped');
    const images = guestImages();
    const broken = cluster.file('ledger', guests, {
      vms: [{ name: 'other', host: 'alpha', memory_mib: 96, kernel: images.kernel, initrd: images.initrd.bank, mac: '52:54:00:99:00:09', disks: [{ name: 'data', source: images.kernel, format: 'qcow2' }] }],
    }, ['alpha', 'beta']);
    await cluster.virtcft('apply', '-f', broken);
    await cluster.watch.until('the failure of the VM', PATIENCE_MS, () => cluster.facts('vm.failed').some(({ vm, reason }) => vm === 'other' && reason.includes(images.kernel)));
  }, 2 * PATIENCE_MS);
});
