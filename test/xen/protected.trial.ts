import { xenHosts, type XenHosts } from '@virtcft/lab';
import { ProtectedCluster, until, type Pace } from '../e2e/protected-cluster.js';

const RUN_MS = 900_000;
// Guests emulated twice over, two hosts and their dom0s on a few processors; and an answer waits for a commit at each of its steps.
const PACE: Pace = { patience_ms: 240_000, answer_ms: 30_000, under: 'xen' };
const [FIRST, SECOND] = ['xen-a', 'xen-b'] as const;
const GUESTS = [
  { name: 'one', role: 'bank', host: FIRST, peers: ['one', 'two'] },
  { name: 'two', role: 'bank', host: SECOND, peers: ['one', 'two'] },
] as const;

describe('a cluster on two Xen hosts', () => {
  let cluster: ProtectedCluster;
  let hosts: XenHosts;

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts: [FIRST, SECOND], memory_mib: 640 }, (lab) => {
      hosts = xenHosts(lab, ['bank']);
      return Promise.resolve(hosts.options);
    }, PACE);
  }, RUN_MS);
  afterAll(async () => { await cluster.close(); });

  it('is protected by the product\'s own agents: its guests are cut together, and each is what was captured of it', async () => {
    const applied = await cluster.virtcft('apply', '-f', cluster.file('rack', GUESTS, { interval_ms: 1_500, epoch_deadline_ms: 60_000, verify_every: 3 }), '--wait');
    expect({ code: applied.code, err: applied.err }).toMatchObject({ code: 0 });
    for (const { name } of GUESTS) await until(`${name} has its connection`, async () => (await cluster.bank(name)).connected === 1, PACE.patience_ms);
    await cluster.commits(6);
    const verified = cluster.facts('segments.stored').map((stored) => stored.verified);
    expect(verified.reduce((sum, { checks }) => sum + checks, 0)).toBeGreaterThan(0);
    expect(verified.reduce((sum, { differing }) => sum + differing, 0)).toBe(0);
    for (const { name } of GUESTS) expect(await cluster.bank(name)).toMatchObject({ errors: 0, reconnects: 0, connected: 1 });
  }, RUN_MS);

  it('goes on from the last cut when a host loses its power: its guest on the other one, with all its connections and every page', async () => {
    const before = await cluster.bank('one');
    const { generation } = cluster.watch.state;
    await cluster.installation.killHost(FIRST);
    await hosts.booted.get(FIRST)?.close();
    await cluster.recovered(generation);
    expect(cluster.watch.state.placement).toEqual({ one: SECOND, two: SECOND });
    expect((await cluster.bank('one')).received).toBeGreaterThanOrEqual(before.received);
    expect(await cluster.audit('one', 'two')).toMatchObject({ settled: true, errors: 0, reconnects: 0, complaints: [] });
    for (const { name } of GUESTS) expect(await cluster.pattern(name)).toMatchObject({ errors: 0 });
  }, RUN_MS);
});
