import { OutsideClients, readLoad } from '@virtcft/lab';
import { PATIENCE_MS, ProtectedCluster, until, type Guest } from './protected-cluster.js';

const guests: Guest[] = [
  { name: 'redis', role: 'redis', host: 'alpha', memory_mib: 128, peers: ['redis', 'bank'] },
  { name: 'bank', role: 'bank', host: 'beta', peers: ['redis', 'bank'] },
];
interface Found { readonly generation: number; readonly highest: number; readonly highest_seen: number; readonly tip: { readonly generation: number; readonly epoch: number; readonly hash: string } | null; readonly vms: string[] }

// One cluster lives through everything below, in this order.
describe('a cluster whose bus is lost with all that it stored', () => {
  let cluster: ProtectedCluster;
  let clients: OutsideClients;
  let before: { generation: number; epoch: number; acked: number };
  const state = () => cluster.watch.state;
  const acked = async (): Promise<number> => (await clients.status()).writer.acked;
  const soundness = async (): Promise<void> => {
    const had = await acked();
    await until('more writes acknowledged', async () => await acked() > had + 5);
    expect(await clients.check()).toMatchObject({ lost: 0, unknown: 0, complaints: [] });
    expect(await cluster.audit('redis', 'bank')).toMatchObject({ settled: true, errors: 0, reconnects: 0, complaints: [] });
  };

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts: ['alpha', 'beta', 'gamma'], memory_mib: 2048 });
    const applied = await cluster.virtcft('apply', '-f', cluster.file('shop', guests, {}, ['alpha', 'beta', 'gamma']), '--wait');
    if (applied.code !== 0) throw new Error(applied.err);
    await until('both banks connected', async () => (await cluster.bank('redis')).connected === 1 && (await cluster.bank('bank')).connected === 1);
    clients = OutsideClients.start(cluster.lab, cluster.address('redis'), { ...readLoad('light').client, keys: 40 });
    await clients.write();
  }, 4 * PATIENCE_MS);
  afterAll(async () => { await cluster.close(); }, PATIENCE_MS);

  it('loses nothing that was acknowledged before', async () => {
    await until('writes acknowledged', async () => await acked() > 20);
    const { generation } = state();
    // A recovery first, so that the store has more than one generation.
    await cluster.installation.killHost('beta');
    await cluster.recovered(generation);
    await cluster.installation.startHost('beta');
    await cluster.watch.until('beta is back as the spare', PATIENCE_MS, () => state().hosts['beta']?.status === 'admitted');
    await cluster.commits(3);
    before = { generation: state().generation, epoch: state().epoch, acked: await acked() };
    expect(before.generation).toBeGreaterThan(generation);
    await cluster.loseBus();
    expect(await cluster.json<{ clusters: unknown[] }>('status')).toEqual({ clusters: [] });
  }, 5 * PATIENCE_MS);

  it('is found in the object store, and what would be lost is said before anything is done', async () => {
    const found = await cluster.json<Found>('rebuild', '--dry-run');
    expect(found).toMatchObject({ generation: before.generation, vms: ['redis', 'bank'], dry_run: true });
    expect(found.tip?.generation).toBe(before.generation);
    expect(found.highest).toBeGreaterThanOrEqual(before.generation);
    const refused = await cluster.virtcft('rebuild');
    expect(refused.code).toBe(5);
    expect(refused.err).toContain(`what the VMs did after cut ${found.tip?.generation}-${found.tip?.epoch}`);
    expect(await cluster.json<{ clusters: unknown[] }>('status')).toEqual({ clusters: [] });
  }, PATIENCE_MS);

  it('is recovered to its latest committed cut as a new generation, and protected again', async () => {
    const { tip } = await cluster.json<Found>('rebuild', '--yes');
    await cluster.recovered(before.generation);
    expect(state().generation).toBeGreaterThan(before.generation);
    expect(state().epoch).toBeGreaterThan(before.epoch);
    expect(cluster.facts('cluster.rebuilt')).toHaveLength(1);
    expect(cluster.facts('generation.raised')[0]?.basis.hash).toBe(tip?.hash);
    expect(cluster.facts('generation.raising').map(({ cause }) => cause.kind)).toEqual(['rebuild']);
    await soundness();
    expect(cluster.installation.fallen()).toEqual([]);
    const again = await cluster.virtcft('rebuild', '--yes');
    expect(again).toMatchObject({ code: 3 });
  }, 3 * PATIENCE_MS);

  it('can be taken back to a cut from before, and survives the loss of a host', async () => {
    const { generation, placement } = state();
    const host = placement['redis'] ?? '';
    await cluster.installation.killHost(host);
    expect(await cluster.recovered(generation)).toMatchObject([{ kind: 'host-lost', lost: [{ host }] }]);
    await soundness();
    const { basis } = cluster.facts('generation.raised')[0]!;
    expect(await cluster.json('restore', '--cut', `${basis.generation}-${basis.epoch}`, '--dry-run')).toMatchObject({ dry_run: true, cut: { hash: basis.hash } });
  }, 3 * PATIENCE_MS);
});
