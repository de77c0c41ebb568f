import { setTimeout as sleep } from 'node:timers/promises';
import { OutsideClients, readLoad, VectorStatus, GUEST_PORTS } from '@virtcft/lab';
import { distribution } from '../../libs/lab/src/report/distribution.js';
import { PATIENCE_MS, ProtectedCluster, until, type Guest } from './protected-cluster.js';

// Two hosts with guests that talk to each other, a spare; all tunnels lead through the lab's relay, and beta's bus through one that can be slow.
const names = ['redis', 'bank'];
const guests: Guest[] = [{ name: 'redis', role: 'redis', host: 'alpha', memory_mib: 128, peers: names }, { name: 'bank', role: 'bank', host: 'beta', peers: names }];
const CUTS = 40;
const CUT_MS = 4_000; // twice as long as any silence on the bus is borne
const GENEROUS = 2.5; // medians on a machine that others use, too

describe('bad weather between hosts', () => {
  let cluster: ProtectedCluster;
  let clients: OutsideClients;

  const relay = () => {
    if (cluster.installation.relay === null) throw new Error('the lab has no relay');
    return cluster.installation.relay;
  };
  const vectors = (): Promise<VectorStatus[]> => Promise.all(names.map((name) => cluster.ask(cluster.address(name), GUEST_PORTS.vectorControl, 'status', VectorStatus)));
  /** Money, messages, writes and histories are as they must be, and all go on. */
  const soundness = async (): Promise<void> => {
    const before = await vectors();
    await until('more messages on every way', async () => (await vectors()).every(({ links }, at) => links.every(({ received }, link) => received > (before[at]?.links[link]?.received ?? 0))));
    for (const vector of await vectors()) expect(vector).toMatchObject({ errors: 0, orphans: 0, reconnects: 0, error: '' });
    expect(await clients.check()).toMatchObject({ lost: 0, unknown: 0, complaints: [] });
    expect((await clients.checkHistories()).flatMap(({ complaints }) => complaints)).toEqual([]);
    expect(await cluster.audit(...names)).toMatchObject({ settled: true, errors: 0, reconnects: 0, complaints: [] });
  };
  /** Median pause of the next cuts. */
  const pause_ms = async (): Promise<number> => {
    const from = cluster.facts('segments.stored').length;
    await cluster.commits(CUTS);
    return distribution(cluster.facts('segments.stored').slice(from).filter(({ verified }) => verified.checks === 0).flatMap(({ pauses }) => pauses.map((pause) => pause.pause_ms))).p50 ?? Infinity;
  };

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts: ['alpha', 'beta', 'gamma'], memory_mib: 2048, relay: { skew: { host: 'beta', delay_ms: 0 } } });
    const applied = await cluster.virtcft('apply', '-f', cluster.file('weather', guests, {}, ['alpha', 'beta', 'gamma']), '--wait');
    if (applied.code !== 0) throw new Error(applied.err);
    await until('all connected', async () => (await vectors()).every(({ connected }) => connected === 1) && (await Promise.all(names.map((name) => cluster.bank(name)))).every(({ connected }) => connected === 1));
    clients = OutsideClients.start(cluster.lab, cluster.address('redis'), { ...readLoad('light').client, keys: 40 }, { histories: names.map((name) => cluster.address(name)) });
    await clients.write();
    await cluster.commits(5);
  }, 3 * PATIENCE_MS);
  afterAll(async () => {
    await clients.stop();
    await cluster.close();
  }, PATIENCE_MS);

  it('a tunnel that is cut one way raises nothing while the bus hears both', async () => {
    const { generation, placement } = cluster.watch.state;
    const [from = '', to = ''] = names.map((name) => placement[name]);
    expect(from).not.toBe(to);
    await relay().set(from, to, { cut: true });
    const { lost } = await relay().status();
    await sleep(CUT_MS);
    expect((await relay().status()).lost).toBeGreaterThan(lost);
    await relay().set(from, to, {});
    expect(cluster.watch.state.generation).toBe(generation);
    expect(cluster.facts('generation.raising').filter((raising) => raising.generation > generation)).toEqual([]);
    await cluster.commits(3);
    await soundness();
  }, 3 * PATIENCE_MS);

  it('tunnels that are slow and decisions that come late to one host make no pause longer', async () => {
    const calm = [await pause_ms()];
    await relay().setAll({ delay_ms: 50 });
    await relay().skew(200);
    const stormy = [await pause_ms()];
    await relay().setAll({});
    await relay().skew(0);
    calm.push(await pause_ms());
    await relay().setAll({ delay_ms: 50 });
    await relay().skew(200);
    stormy.push(await pause_ms());
    expect(Math.min(...stormy)).toBeLessThan(GENEROUS * Math.max(...calm));
    await soundness();
    await relay().setAll({});
    await relay().skew(0);
  }, 4 * PATIENCE_MS);

  it('frames that are lost and overtake each other between hosts are an ordinary network to the guests', async () => {
    await relay().setAll({ delay_ms: 5, jitter_ms: 20, loss_percent: 2 });
    await cluster.commits(20);
    await soundness();
    expect((await relay().status()).lost).toBeGreaterThan(0);
    await relay().setAll({});
  }, 3 * PATIENCE_MS);
});
