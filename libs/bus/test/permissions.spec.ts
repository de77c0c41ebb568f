import { randomUUID } from 'node:crypto';
import { PermissionViolationError, type NatsConnection } from '@nats-io/transport-node';
import { Bus, BusRefused, leaseBucket, permissions, serverConfig, userName, type Service, type StoredReport } from '../src/index.js';
import { appendRun, resumed, start, suspected } from './contract.js';
import { TestServer } from './nats-server.js';
import { heartbeat, registration, settled, until } from './samples.js';

const services: Service[] = ['coordinator', 'failover', 'replica-store', 'host-agent:a', 'host-agent:b', 'operator', 'consumer'];
const password = (service: Service): string => `secret of ${service}`;
let server: TestServer;
const buses = new Map<Service, Bus>();
const as = (service: Service): Bus => {
  const bus = buses.get(service);
  if (!bus) throw new Error(service);
  return bus;
};

beforeAll(async () => {
  server = await TestServer.start(({ port, storeDir }) => serverConfig({ port, storeDir, users: services.map((service) => ({ service, password: password(service) })) }));
  for (const service of services) buses.set(service, await Bus.connect({ servers: server.url, name: service, user: userName(service), password: password(service) }));
  await as('coordinator').provisionStreams();
});
afterAll(async () => {
  for (const bus of buses.values()) await bus.close();
  await server.stop();
});

const refused = async (work: Promise<unknown>): Promise<void> => { await expect(work).rejects.toBeInstanceOf(BusRefused); };

it('nobody without a user', async () => {
  await refused(Bus.connect({ servers: server.url, name: 'x' }));
});

it('everybody sees that the streams are there', async () => {
  for (const service of services) await expect(as(service).awaitStreams(2_000)).resolves.toBeUndefined();
});

it('coordinator and failover decide, the others cannot', async () => {
  const cluster = randomUUID();
  const tip = await appendRun(as('coordinator'), cluster, 1, 1);
  await as('failover').append(cluster, resumed(2), tip);
  for (const service of ['replica-store', 'host-agent:a', 'operator', 'consumer'] as const) await refused(as(service).append(cluster, resumed(3), start));
});

it('everybody may read decisions; only those that need reports read them', async () => {
  const cluster = randomUUID();
  await appendRun(as('coordinator'), cluster, 1, 2);
  for (const service of services) expect(await as(service).readDecisions(cluster)).toHaveLength(2);
  await as('failover').report(cluster, 'failover', suspected('a'));
  for (const service of ['coordinator', 'failover', 'replica-store', 'operator', 'consumer'] as const) {
    const [seen, done] = [[] as StoredReport[], new AbortController()];
    await as(service).followReports({ cluster, from: 'all', signal: done.signal }, (stored) => { seen.push(stored); done.abort(); });
    expect(seen).toHaveLength(1);
  }
  await refused(as('host-agent:a').followReports({ cluster, from: 'all', signal: new AbortController().signal }, () => {}));
});

it('an agent reports, registers and beats for its own host only', async () => {
  const cluster = randomUUID();
  const [a, beats, done] = [as('host-agent:a'), [] as string[], new AbortController()];
  const watch = as('failover').watchHeartbeats(done.signal, ({ host, sequence }) => void beats.push(`${host} ${sequence}`));
  await a.report(cluster, 'a', suspected('b'));
  await a.register(registration('a'));
  await settled(20);
  a.heartbeat(heartbeat('b', 1));
  a.heartbeat(heartbeat('a', 2));
  await until(() => beats.length > 0);
  await refused(a.report(cluster, 'b', suspected('a')));
  await refused(a.register(registration('b')));
  done.abort();
  await watch;
  expect(beats).toEqual(['a 2']);
});

it('failover hears itself, an agent hears only itself', async () => {
  const [done, beats] = [new AbortController(), [] as string[]];
  const watches = [as('failover').watchHeartbeats(done.signal, ({ host }) => void beats.push(`failover ${host}`)), as('host-agent:a').watchHeartbeats(done.signal, ({ host }) => void beats.push(`a ${host}`), 'a')];
  await settled(20);
  as('failover').heartbeat(heartbeat('failover', 1));
  as('host-agent:a').heartbeat(heartbeat('a', 1));
  await until(() => beats.length === 3);
  done.abort();
  await Promise.all(watches);
  expect(beats.sort()).toEqual(['a a', 'failover a', 'failover failover']);
  await refused(as('host-agent:a').watchHeartbeats(new AbortController().signal, () => {}));
});

it('operators ask, services answer; an agent cannot ask the coordinator', async () => {
  as('coordinator').serve('coordinator', 'get', async () => 'cluster');
  as('replica-store').serve('replica-store', 'cuts', async () => ({ cuts: [] }));
  await settled(20);
  expect(await as('operator').request('coordinator', 'get', {})).toBe('cluster');
  expect(await as('host-agent:a').request('replica-store', 'cuts', {})).toEqual({ cuts: [] });
  await refused(as('host-agent:a').request('coordinator', 'get', {}));
});

it('the deciders take leases, an agent cannot', async () => {
  const lease = await as('coordinator').lease(leaseBucket, 'x', 5_000);
  expect(lease).not.toBeNull();
  expect(await as('failover').lease(leaseBucket, 'x', 5_000)).toBeNull();
  expect(await lease?.renew()).toBe(true);
  await lease?.release();
  await refused(as('host-agent:a').lease(leaseBucket, 'y', 5_000));
});

it('a consumer consumes durably', async () => {
  const [cluster, done] = [randomUUID(), new AbortController()];
  await as('coordinator').report(cluster, 'coordinator', suspected('a'));
  let seen = 0;
  await as('consumer').consumeReports({ durable: 'audit', cluster, signal: done.signal }, () => { seen++; done.abort(); });
  expect(seen).toBe(1);
});

describe('with a client of its own', () => {
  const outcome = async (service: Service, attempt: (connection: NatsConnection) => Promise<unknown>): Promise<unknown> => {
    const user = userName(service);
    const { connect } = await import('@nats-io/transport-node');
    const connection = await connect({ servers: server.url, user, pass: password(service), inboxPrefix: `_INBOX.${user}`, timeout: 2_000 });
    try {
      return await attempt(connection).then(() => 'allowed', (error: unknown) => {
        const violation = error instanceof Error ? (error.cause ?? error) : error;
        return violation instanceof PermissionViolationError ? 'refused' : String(error);
      });
    } finally {
      await connection.close();
    }
  };
  const mustNot: [Service, string][] = [
    ['host-agent:a', '$JS.API.STREAM.PURGE.VIRTCFT_DECISIONS'], ['host-agent:a', '$JS.API.STREAM.DELETE.VIRTCFT_DECISIONS'], ['coordinator', '$JS.API.STREAM.PURGE.VIRTCFT_DECISIONS'],
    ['coordinator', '$JS.API.STREAM.DELETE.VIRTCFT_DECISIONS'], ['operator', '$JS.API.STREAM.UPDATE.VIRTCFT_DECISIONS'], ['consumer', 'virtcft.v1.api.coordinator.stop'],
    ['consumer', '$JS.API.STREAM.CREATE.OTHER'], ['host-agent:a', 'virtcft.v1.host.b.registered'], ['host-agent:a', 'virtcft.v1.api.replica-store.gc'], ['replica-store', 'virtcft.v1.cluster.x.report.host-agent.x'], ['operator', 'virtcft.v1.cluster.x.decision'],
  ];
  it.each(mustNot)('%s may not publish on %s', async (service, subject) => {
    expect(await outcome(service, (connection) => connection.request(subject, '{}'))).toBe('refused');
  });

  it.each<[Service, string]>([['consumer', 'virtcft.v1.host.*.heartbeat'], ['operator', 'virtcft.v1.api.coordinator.>'], ['host-agent:a', '_INBOX.coordinator.>'], ['host-agent:a', 'virtcft.v1.>'], ['host-agent:a', '>']])('%s may not listen on %s', async (service, subject) => {
    expect(await outcome(service, (connection) => new Promise<void>((resolve, reject) => {
      connection.subscribe(subject, { callback: (error) => { if (error) reject(error); } });
      void connection.flush().then(() => settled(50)).then(resolve);
    }))).toBe('refused');
  });
});

it('an unknown service has no permissions', () => {
  expect(() => permissions('anybody' as Service)).toThrow(/not a service/);
});
