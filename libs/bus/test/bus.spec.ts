import { randomUUID } from 'node:crypto';
import { jetstreamManager } from '@nats-io/jetstream';
import type { Heartbeat } from '@virtcft/events';
import { ApiError, Bus, BusRefused, BusUnavailable, ServerTooOld, settle, settlementRules, StreamMismatch, type RegisteredHost } from '../src/index.js';
import { isAtLeast } from '../src/connection.js';
import { TestServer } from './nats-server.js';
import { heartbeat, registration, settled, until } from './samples.js';

let server: TestServer;
let bus: Bus;
beforeAll(async () => {
  server = await TestServer.start();
  bus = await Bus.connect({ servers: server.url, name: 'coordinator' });
  await bus.provisionStreams();
});
afterAll(async () => {
  await bus.close();
  await server.stop();
});

describe('connecting', () => {
  it('nobody there: unavailable, with what to do', async () => {
    const error: unknown = await Bus.connect({ servers: 'nats://127.0.0.1:1', name: 'x' }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(BusUnavailable);
    expect((error as BusUnavailable).next).toMatch(/VIRTCFT_NATS_URL/);
  });

  it('a server older than wanted is refused', async () => {
    await expect(Bus.connect({ servers: server.url, name: 'x', minimumServer: '99.0.0' })).rejects.toBeInstanceOf(ServerTooOld);
  });

  it('a wrong password is refused, not retried', async () => {
    const guarded = await TestServer.start(({ port, storeDir }) => `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${storeDir}" }\nauthorization { user: a, password: b }\n`);
    try {
      await expect(Bus.connect({ servers: guarded.url, name: 'x', user: 'a', password: 'wrong' })).rejects.toBeInstanceOf(BusRefused);
      await expect(Bus.connect({ servers: guarded.url, name: 'x' })).rejects.toBeInstanceOf(BusRefused);
      await (await Bus.connect({ servers: guarded.url, name: 'x', user: 'a', password: 'b' })).close();
    } finally {
      await guarded.stop();
    }
  });

  it('a server without JetStream is said to be so', async () => {
    const plain = await TestServer.start(({ port }) => `listen: "127.0.0.1:${port}"\n`);
    try {
      await expect(Bus.connect({ servers: plain.url, name: 'x' })).rejects.toThrow(/without JetStream/);
    } finally {
      await plain.stop();
    }
  });

  it.each([['2.12.0', '2.12.0', true], ['2.12.1', '2.12.0', true], ['2.9.10', '2.12.0', false], ['3.0.0-beta', '2.12.0', true], ['2.12', '2.12.0', true], ['', '2.12.0', false]])('version %s against %s', (version, minimum, expected) => {
    expect(isAtLeast(version, minimum)).toBe(expected);
  });
});

describe('streams', () => {
  it('making them again changes nothing; those that wait see them', async () => {
    await bus.provisionStreams();
    await expect(bus.awaitStreams(1_000)).resolves.toBeUndefined();
  });

  it('what a server can change is changed, what it cannot is a mismatch', async () => {
    const other = await TestServer.start();
    const client = await other.raw();
    const late = await Bus.connect({ servers: other.url, name: 'coordinator' });
    try {
      await expect(late.awaitStreams(1)).rejects.toThrow(/did not appear/);
      const manager = await jetstreamManager(client);
      await manager.streams.add({ name: 'VIRTCFT_REPORTS', subjects: ['virtcft.v1.cluster.*.report.>'], max_age: 0 });
      await late.provisionStreams();
      expect((await manager.streams.info('VIRTCFT_REPORTS')).config.max_age).toBe(86_400_000_000_000);
      expect((await manager.streams.info('VIRTCFT_DECISIONS')).config).toMatchObject({ deny_delete: true, deny_purge: true, max_age: 0, discard: 'new' });
      await expect(late.provisionStreams({ storage: 'memory' })).rejects.toBeInstanceOf(StreamMismatch);
    } finally {
      await late.close();
      await client.close();
      await other.stop();
    }
  });
});

describe('hosts', () => {
  it('a follower gets the newest registration of each host, then live ones', async () => {
    for (const [host, memory] of [['a', 1], ['b', 2], ['a', 3]] as const) await bus.register(registration(host, memory));
    const [done, seen] = [new AbortController(), [] as RegisteredHost[]];
    let caught = 0;
    const follow = bus.followRegistrations(done.signal, (item) => void seen.push(item), () => { caught = seen.length; });
    await until(() => caught > 0);
    await bus.register(registration('c', 4));
    await until(() => seen.length === 3);
    done.abort();
    await follow;
    expect(seen.map(({ registration: { host, memory_mib } }) => [host, memory_mib])).toEqual([['b', 2], ['a', 3], ['c', 4]]);
    expect(caught).toBe(2);
  });

  it('heartbeats arrive as they are; those that lie about their host or cannot be read do not', async () => {
    const [done, all, one] = [new AbortController(), [] as Heartbeat[], [] as Heartbeat[]];
    const watches = [bus.watchHeartbeats(done.signal, (beat) => void all.push(beat)), bus.watchHeartbeats(done.signal, (beat) => void one.push(beat), 'b')];
    const raw = await server.raw();
    await settled(20);
    const beats = [heartbeat('a', 1), heartbeat('b', 1), heartbeat('a', 2)];
    raw.publish('virtcft.v1.host.a.heartbeat', 'not JSON');
    raw.publish('virtcft.v1.host.a.heartbeat', JSON.stringify(heartbeat('b', 9)));
    await raw.flush();
    await raw.close();
    for (const beat of beats) bus.heartbeat(beat);
    await until(() => all.length >= 3 && one.length >= 1);
    done.abort();
    await Promise.all(watches);
    expect(all).toEqual(beats);
    expect(one).toEqual([beats[1]]);
  });
});

describe('requests', () => {
  it('the value comes back; errors come back as what they are', async () => {
    bus.serve('test', 'echo', async (body) => body);
    bus.serve('test', 'refuse', async () => { throw new ApiError('conflict', 'it is busy', 'wait'); });
    bus.serve('test', 'break', async () => { throw new Error('inner'); });
    bus.serve('test', 'nothing', async () => undefined);
    expect(await bus.request('test', 'echo', { a: [1, 'ä'] })).toEqual({ a: [1, 'ä'] });
    expect(await bus.request('test', 'nothing', {})).toBeNull();
    await expect(bus.request('test', 'refuse', {})).rejects.toMatchObject({ name: 'ApiError', code: 'conflict', message: 'it is busy', next: 'wait' });
    await expect(bus.request('test', 'break', {})).rejects.toMatchObject({ code: 'internal', message: 'inner' });
  });

  it('nobody serves it: unavailable; no answer in time: timeout; not JSON: bad-request', async () => {
    await expect(bus.request('nobody', 'get', {})).rejects.toMatchObject({ code: 'unavailable' });
    bus.serve('test', 'never', () => new Promise(() => {}));
    await expect(bus.request('test', 'never', {}, { timeout_ms: 30 })).rejects.toMatchObject({ code: 'timeout' });
    const raw = await server.raw();
    expect((await raw.request('virtcft.v1.api.test.echo', '{')).json()).toMatchObject({ error: { code: 'bad-request' } });
    await raw.close();
  });

  it('instances of a service share its requests', async () => {
    const second = await Bus.connect({ servers: server.url, name: 'second' });
    let count = 0;
    for (const each of [bus, second]) each.serve('shared', 'count', async () => ++count);
    await second.request('shared', 'count', {});
    for (let i = 0; i < 20; i++) await bus.request('shared', 'count', {});
    await second.close();
    expect(count).toBe(21);
  });
});

describe('leases', () => {
  it('one holds it; the token rises with every renewal and holder; it falls when it is not renewed', async () => {
    const key = randomUUID();
    const first = await bus.lease('TEST_LEASES', key, 500);
    expect(first).not.toBeNull();
    expect(await bus.lease('TEST_LEASES', key, 500)).toBeNull();
    const before = first?.revision ?? 0;
    expect(await first?.renew()).toBe(true);
    expect(first?.revision).toBeGreaterThan(before);
    await settled(1_000);
    const second = await bus.lease('TEST_LEASES', key, 500);
    expect(second?.revision).toBeGreaterThan(first?.revision ?? 0);
    expect(await first?.renew()).toBe(false);
    await first?.release();
    expect(await second?.renew()).toBe(true);
    await second?.release();
    expect(await bus.lease('TEST_LEASES', key, 500)).not.toBeNull();
  });
});

describe('settlement', () => {
  it('handled is done, unreadable is given up, failed is tried again, later each time, not for ever', () => {
    expect(settle('handled', 1)).toEqual({ kind: 'ack' });
    expect(settle('undecodable', 1)).toEqual({ kind: 'term', reason: 'undecodable' });
    const delays = Array.from({ length: settlementRules.deliveries - 1 }, (_, i) => settle('failed', i + 1)).map((each) => (each.kind === 'nak' ? each.delay_ms : -1));
    expect(delays[0]).toBe(settlementRules.first_ms);
    expect(delays.every((delay, i) => delay > 0 && delay <= settlementRules.most_ms && (i === 0 || delay >= (delays[i - 1] ?? 0)))).toBe(true);
    expect(settle('failed', settlementRules.deliveries).kind).toBe('term');
  });
});

it('closing ends every follow', async () => {
  const short = await Bus.connect({ servers: server.url, name: 'short' });
  const signal = new AbortController().signal;
  const follows = Promise.all([short.followDecisions({ signal }, () => {}), short.followReports({ from: 'all', signal }, () => {}), short.watchHeartbeats(signal, () => {}), short.followRegistrations(signal, () => {})]);
  await settled(50);
  await short.close();
  await expect(follows).resolves.toHaveLength(4);
  expect(short.connected).toBe(false);
});
