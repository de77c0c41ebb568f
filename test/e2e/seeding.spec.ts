import { PATIENCE_MS, ProtectedCluster, until, type Guest } from './protected-cluster.js';

// One cluster lives through everything below, in this order.
const hosts = ['alpha', 'beta', 'gamma'];
const guests: Guest[] = [
  { name: 'small', role: 'bank', host: 'alpha', peers: ['small', 'other'] },
  { name: 'other', role: 'bank', host: 'beta', peers: ['small', 'other'] },
  { name: 'large', role: 'bank', host: 'gamma', memory_mib: 256 },
];
interface VmRow { readonly vm: string; readonly host: string | null; readonly cuts: string | null }

describe('a VM that is too large to be stored whole in its first cut (R20)', () => {
  let cluster: ProtectedCluster;
  const state = () => cluster.watch.state;
  const row = async (name: string): Promise<VmRow | undefined> => (await cluster.json<{ vms: VmRow[] }>('get', 'vms')).vms.find(({ vm }) => vm === name);
  const joins = (): number => cluster.facts('vm.joined').length;
  /** VMs of which the newest stored captures hold something. */
  const captured = (): string[] => [...new Set(cluster.facts('segments.stored').slice(-6).flatMap(({ segments }) => segments.map(({ vm }) => vm)))].sort();

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts, memory_mib: 2_048 });
    // Some 80 MiB of it are in use: well over half a minute at this rate.
    const file = cluster.file('shop', guests, { policies: { seed_from_mib: 256, seed_mib_per_s: 2 } }, hosts);
    const applied = await cluster.virtcft('apply', '-f', file, '--wait');
    if (applied.code !== 0) throw new Error(applied.err);
  }, 4 * PATIENCE_MS);
  afterAll(async () => { await cluster.close(); }, PATIENCE_MS);
  afterEach(() => { expect(cluster.installation.fallen()).toEqual([]); });

  it('runs and is syncing while the others are protected, and the status says how far it is', async () => {
    await cluster.commits(3);
    expect(joins()).toBe(0);
    expect(cluster.facts('vm.seeding')).toMatchObject([{ vm: 'large', host: 'gamma' }]);
    expect(captured()).toEqual(['other', 'small']);
    await until('it is some way', async () => /^syncing [1-9]\d? %$/.test((await row('large'))?.cuts ?? ''));
    expect((await row('small'))?.cuts).toBe('in');
    expect((await cluster.virtcft('status', 'shop')).out).toMatch(/protection: +on, but large is syncing \d+ %/);
  }, 3 * PATIENCE_MS);

  it('begins anew elsewhere when its host dies meanwhile; the others recover', async () => {
    const { generation } = state();
    expect(joins()).toBe(0);
    await cluster.installation.killHost('gamma');
    expect(await cluster.recovered(generation)).toMatchObject([{ kind: 'host-lost', lost: [{ host: 'gamma' }] }]);
    expect(cluster.facts('generation.raised').at(-1)).toMatchObject({ vms: ['other', 'small'] });
    expect(state().placement['large']).not.toBe('gamma');
    // Its own table begins from nothing, and nothing of the others' is lost.
    expect(await cluster.pattern('large')).toMatchObject({ errors: 0 });
    await until('both banks connected', async () => (await cluster.bank('small')).connected === 1 && (await cluster.bank('other')).connected === 1);
    expect(await cluster.audit('small', 'other')).toMatchObject({ settled: true, errors: 0, reconnects: 0, complaints: [] });
    await cluster.installation.startHost('gamma');
    await cluster.watch.until('gamma is back as the spare', PATIENCE_MS, () => state().hosts['gamma']?.status === 'admitted');
  }, 4 * PATIENCE_MS);

  it('joins at a barrier with a first segment on its base, and every cut verifies', async () => {
    await cluster.watch.until('it joins', 2 * PATIENCE_MS, () => joins() === 1);
    await cluster.watch.until('it is captured', PATIENCE_MS, () => captured().includes('large'));
    await cluster.commits(3);
    const [first] = cluster.facts('segments.stored').flatMap(({ segments }) => segments.filter(({ vm }) => vm === 'large'));
    const seeded = cluster.facts('vm.seeded').at(-1);
    expect(first).toMatchObject({ kind: 'full', parent: null });
    expect(seeded?.seeded_bytes).toBeGreaterThan(16 * 2 ** 20);
    expect(cluster.facts('vm.joined')).toMatchObject([{ vm: 'large', image: seeded?.image }]);
    expect((await row('large'))?.cuts).toBe('in');
    expect((await cluster.virtcft('verify', '--cluster', 'shop')).code).toBe(0);
  }, 4 * PATIENCE_MS);

  it('is restored like any when its host dies then, and is not seeded again', async () => {
    const { generation, placement } = state();
    const seedings = cluster.facts('vm.seeding').length;
    const { written } = await cluster.pattern('large');
    await cluster.installation.killHost(placement['large'] ?? '');
    await cluster.recovered(generation);
    const after = await cluster.pattern('large');
    expect(after.errors).toBe(0);
    expect(after.written).toBeGreaterThanOrEqual(written);
    expect(cluster.facts('vm.seeding').length).toBe(seedings);
    expect(captured()).toEqual(['large', 'other', 'small']);
  }, 4 * PATIENCE_MS);
});
