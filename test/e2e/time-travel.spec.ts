import { readFileSync } from 'node:fs';
import { GUEST_PORTS, guestAppend, guestImages, readLoad } from '@virtcft/lab';
import { z } from 'zod';
import { PATIENCE_MS, ProtectedCluster, until, type Guest } from './protected-cluster.js';

const guests: Guest[] = [{ name: 'database', role: 'database', host: 'alpha', memory_mib: 128 }, { name: 'bank', role: 'bank', host: 'beta' }];
const Committed = z.object({ committed: z.boolean() });
const Rows = z.object({ rows: z.array(z.tuple([z.number(), z.string()])) });
interface Cuts { readonly cuts: readonly { readonly generation: number; readonly epoch: number; readonly hash: string }[] }

// One cluster lives through everything below, in this order.
describe('a cluster that is taken back to an earlier cut', () => {
  let cluster: ProtectedCluster;
  /** The file of both guests, the database with its disks. */
  const file = (more: object): string => {
    const images = guestImages();
    const load = readLoad('database');
    const disks = [{ name: 'data', source: images.disks.data }, { name: 'blocks', source: images.disks.blocks }];
    const plain = JSON.parse(readFileSync(cluster.file('ledger', guests, {}, ['alpha', 'beta']), 'utf8')) as { vms: { name: string }[] };
    const append = guestAppend({ address: cluster.address('database'), peers: [cluster.address('database')], role: 'database', load: { ...load.guest, probe: 0 }, disks: load.disks });
    return cluster.write('ledger.yaml', JSON.stringify({ ...plain, ...more, vms: plain.vms.map((vm) => (vm.name === 'database' ? { ...vm, append, disks } : vm)) }));
  };
  const ask = <T>(command: string, schema: z.ZodType<T>): Promise<T> => cluster.ask(cluster.address('database'), GUEST_PORTS.database, command, schema);
  const commit = async (number: number): Promise<void> => { expect(await ask(`commit 0 ${number} ${'ab'.repeat(8)}${number}`, Committed)).toEqual({ committed: true }); };
  const rows = async (): Promise<number[]> => (await ask('read 0 1', Rows)).rows.map(([number]) => number);
  const newest = async (): Promise<Cuts['cuts'][number]> => {
    await cluster.commits(2);
    return (await cluster.json<Cuts>('get', 'cuts', '--limit', '1')).cuts[0]!;
  };

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts: ['alpha', 'beta'], memory_mib: 2048 });
    const applied = await cluster.virtcft('apply', '-f', file({}), '--wait');
    if (applied.code !== 0) throw new Error(applied.err);
    await commit(1);
  }, 4 * PATIENCE_MS);
  afterAll(async () => { await cluster.close(); }, PATIENCE_MS);
  afterEach(() => { expect(cluster.installation.fallen()).toEqual([]); });

  it('says what would be lost and does nothing without a yes; then every VM, memory and disks, is as it was, and what came after never was', async () => {
    await commit(2);
    const then = await newest();
    const name = `${then.generation}-${then.epoch}`;
    await commit(3);
    await cluster.commits(3);
    const refused = await cluster.virtcft('restore', '--cut', name);
    expect(refused.code).toBe(5);
    expect(refused.err).toMatch(/loses [0-9]+ epochs, .*also what the outside has already seen/);
    expect(await cluster.json('restore', '--cut', name, '--dry-run')).toMatchObject({ dry_run: true, cut: { hash: then.hash }, vms: ['bank', 'database'] });
    expect(await rows()).toEqual([1, 2, 3]);

    const { generation } = cluster.watch.state;
    expect(await cluster.json('restore', '--cut', name, '--yes')).toMatchObject({ dry_run: false, cut: { hash: then.hash } });
    // A machine that is overrun may lose a host besides, after it.
    expect((await cluster.recovered(generation))[0]).toMatchObject({ kind: 'rewind', lost: [], cut: { hash: then.hash } });
    expect(cluster.facts('cluster.rewound')).toMatchObject([{ cut: { hash: then.hash } }]);
    expect(cluster.facts('generation.raised').find((raised) => raised.generation > generation)?.basis.hash).toBe(then.hash);
    expect(await rows()).toEqual([1, 2]);
    expect(await cluster.pattern('bank')).toMatchObject({ errors: 0 });
    await commit(4);
    expect(await rows()).toEqual([1, 2, 4]);
  }, 4 * PATIENCE_MS);

  it('holds a pinned cut, and refuses one that is not retained any more', async () => {
    const { cuts } = await cluster.json<Cuts>('get', 'cuts', '--limit', '1000');
    const [pinned, gone] = [cuts[1]!, cuts[2]!];
    expect((await cluster.virtcft('pin', 'kept', '--cut', `${pinned.generation}-${pinned.epoch}`)).code).toBe(0);
    const applied = await cluster.virtcft('apply', '-f', file({ retention: { last: 3 } }));
    expect(applied).toMatchObject({ code: 0, err: '' });
    await cluster.commits(6);
    const refused = await cluster.virtcft('restore', '--cut', `${gone.generation}-${gone.epoch}`, '--yes');
    expect(refused.code).toBe(3);
    expect(refused.err).toContain('is not retained any more');
    expect((await cluster.virtcft('restore', '--cut', '1-999999', '--yes')).code).toBe(3);
    const { generation } = cluster.watch.state;
    expect((await cluster.virtcft('restore', '--cut', `${pinned.generation}-${pinned.epoch}`, '--yes')).code).toBe(0);
    await cluster.recovered(generation);
    expect(cluster.facts('generation.raised').find((raised) => raised.generation > generation)?.basis.hash).toBe(pinned.hash);
    await until('the database answers', async () => (await rows()).length > 0);
    expect((await cluster.virtcft('unpin', 'kept')).code).toBe(0);
  }, 4 * PATIENCE_MS);
});
