import { randomUUID } from 'node:crypto';
import { cp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { headers } from '@nats-io/transport-node';
import { encodeReport } from '@virtcft/events';
import { AppendAmbiguous, AppendConflict, Bus, LogMismatch, serverConfig, type StoredReport } from '../src/index.js';
import { appendRun, generations, resumed, start, suspected, tipOf } from './contract.js';
import { TestServer } from './nats-server.js';
import { until } from './samples.js';

let server: TestServer;
let bus: Bus;
beforeEach(async () => {
  server = await TestServer.start(({ port, storeDir }) => serverConfig({ port, storeDir }));
  bus = await Bus.connect({ servers: server.url, name: 'coordinator' });
  await bus.provisionStreams();
});
afterEach(async () => {
  await bus.close();
  await server.stop();
});

it('decisions outlive a crash of the server, and a follower goes on behind the last it handled', async () => {
  const [cluster, done, seen] = [randomUUID(), new AbortController(), [] as number[]];
  let caught = 0;
  const follow = bus.followDecisions({ cluster, signal: done.signal, caughtUp: () => { caught++; } }, (stored) => void seen.push(...generations([stored])));
  let tip = await appendRun(bus, cluster, 1, 10);
  await until(() => seen.length === 10);
  const changes: boolean[] = [];
  bus.onConnection((connected) => void changes.push(connected));
  await server.kill();
  await until(() => !bus.connected);
  await server.run();
  await until(() => bus.connected);
  tip = await appendRun(bus, cluster, 11, 15, tip);
  await until(() => seen.length === 15);
  done.abort();
  await follow;
  expect(seen).toEqual(Array.from({ length: 15 }, (_, i) => i + 1));
  expect([caught, changes]).toEqual([1, [false, true]]);
  expect((await bus.readDecisions(cluster)).at(-1)?.sequence).toBe(tip.expected);
});

it('a close ends with a server that stands still, and with one that dies meanwhile', async () => {
  const others = await Promise.all(['one', 'two'].map((name) => Bus.connect({ servers: server.url, name })));
  server.freeze();
  const closing = others[0]!.close();
  await closing;
  const again = others[1]!.close();
  await server.kill();
  await again;
  expect(others.map(({ connected }) => connected)).toEqual([false, false]);
  await server.run();
});

it('a report sent while the bus is away is stored once, when it is back', async () => {
  const [cluster, done, seen] = [randomUUID(), new AbortController(), [] as StoredReport[]];
  let ready = false;
  const follow = bus.followReports({ cluster, from: 'new', signal: done.signal, caughtUp: () => { ready = true; } }, (stored) => void seen.push(stored));
  await until(() => ready);
  await server.kill();
  await until(() => !bus.connected);
  const sent = bus.report(cluster, 'host-a', suspected('host-b'));
  await server.run();
  await sent;
  await bus.report(cluster, 'host-a', suspected('host-c'));
  await until(() => seen.length === 2);
  done.abort();
  await follow;
  expect(seen.map(({ report }) => (report.data as { host: string }).host)).toEqual(['host-b', 'host-c']);
});

it('an append without an answer is ambiguous, not failed', async () => {
  const cluster = randomUUID();
  const tip = await appendRun(bus, cluster, 1, 1);
  await server.kill();
  await until(() => !bus.connected);
  const append = bus.append(cluster, resumed(2), tip);
  await expect(append).rejects.toBeInstanceOf(AppendAmbiguous);
  await server.run();
  await until(() => bus.connected);
  expect(generations(await bus.readDecisions(cluster)).slice(0, 1)).toEqual([1]);
});

it('R14: a log that came back without what was read is a mismatch, not a new beginning', async () => {
  const cluster = randomUUID();
  let seen = 0;
  const follow = bus.followDecisions({ cluster, signal: new AbortController().signal }, () => void seen++);
  await appendRun(bus, cluster, 1, 5);
  await until(() => seen === 5);
  await server.kill();
  await rm(join(server.folder, 'store'), { recursive: true });
  await server.run();
  const [other] = await Promise.all([Bus.connect({ servers: server.url, name: 'coordinator' })]);
  try {
    await other.provisionStreams();
    await expect(follow).rejects.toBeInstanceOf(LogMismatch);
  } finally {
    await other.close();
  }
});

it('R14: a log that was read and is gone for seconds is a mismatch, though nobody makes another', async () => {
  const cluster = randomUUID();
  let seen = 0;
  const follow = bus.followDecisions({ cluster, signal: new AbortController().signal }, () => void seen++);
  await appendRun(bus, cluster, 1, 3);
  await until(() => seen === 3);
  await server.kill();
  await rm(join(server.folder, 'store'), { recursive: true });
  await server.run();
  await expect(follow).rejects.toThrow(/is not there any more/);
});

it('R14: a log restored from an older copy is a mismatch, though it is the same stream', async () => {
  const cluster = randomUUID();
  const [files, copy] = [join(server.folder, 'store'), join(server.folder, 'copy')];
  const tip = await appendRun(bus, cluster, 1, 3);
  await server.kill();
  await cp(files, copy, { recursive: true });
  await server.run();
  await until(() => bus.connected);
  let seen = 0;
  const follow = bus.followDecisions({ cluster, signal: new AbortController().signal }, () => void seen++);
  await appendRun(bus, cluster, 4, 5, tip);
  await until(() => seen === 5);
  await server.kill();
  await rm(files, { recursive: true });
  await rename(copy, files);
  await server.run();
  await expect(follow).rejects.toThrow(/ends at 3; 5 was read/);
});

it('R14: another log in the place of the one that was read is a mismatch, though it is longer', async () => {
  const other = await TestServer.start();
  const elsewhere = await Bus.connect({ servers: other.url, name: 'coordinator' });
  await elsewhere.provisionStreams();
  await appendRun(elsewhere, randomUUID(), 1, 9);
  await elsewhere.close();
  await other.kill();
  const cluster = randomUUID();
  let seen = 0;
  const follow = bus.followDecisions({ cluster, signal: new AbortController().signal }, () => void seen++);
  await appendRun(bus, cluster, 1, 2);
  await until(() => seen === 2);
  await server.kill();
  await rm(join(server.folder, 'store'), { recursive: true });
  await rename(join(other.folder, 'store'), join(server.folder, 'store'));
  await server.run();
  await expect(follow).rejects.toThrow(/is not the one that was read/);
  await other.stop();
});

it('a decision put behind the log by somebody without its hash is found by every reader', async () => {
  const cluster = randomUUID();
  await appendRun(bus, cluster, 1, 2);
  const raw = await server.raw();
  const log = await bus.readDecisions(cluster);
  // A decider that lost track of the tip's hash, but not of its sequence.
  await bus.append(cluster, resumed(3), { ...tipOf(log.at(-1)), previous: log[0]?.hash ?? null });
  await expect(bus.readDecisions(cluster)).rejects.toThrow(LogMismatch);
  const forged = randomUUID();
  await raw.request(`virtcft.v1.cluster.${forged}.decision`, '{"generation":1}');
  await expect(bus.readDecisions(forged)).rejects.toThrow(/cannot be read/);
  await raw.close();
});

it('reports that cannot be read are skipped, the next ones come', async () => {
  const [cluster, done, seen] = [randomUUID(), new AbortController(), [] as string[]];
  const raw = await server.raw();
  const subject = `virtcft.v1.cluster.${cluster}.report.host-a.host-suspected`;
  await raw.request(subject, 'not JSON');
  // One that is well formed, by host-b in the name of host-a.
  const { headers: claimed, payload } = encodeReport(cluster, suspected('host-c'), { id: randomUUID(), source: 'host-a', time: new Date() });
  const bag = headers();
  for (const [name, value] of Object.entries(claimed)) bag.set(name, value);
  await raw.request(subject.replace('host-a', 'host-b'), payload, { headers: bag, timeout: 2_000 });
  await bus.report(cluster, 'host-a', suspected('host-b'));
  await raw.close();
  await bus.followReports({ cluster, from: 'all', signal: done.signal }, ({ report }) => { seen.push((report.data as { host: string }).host); done.abort(); });
  expect(seen).toEqual(['host-b']);
});

it('a durable consumer goes on where it was, tries a failing report again and gives up an unreadable one', async () => {
  const cluster = randomUUID();
  const raw = await server.raw();
  await raw.request(`virtcft.v1.cluster.${cluster}.report.host-a.host-suspected`, 'not JSON');
  await raw.close();
  for (let i = 1; i <= 3; i++) await bus.report(cluster, 'host-a', suspected('host-b', i));
  const handled: number[] = [];
  const consume = async (count: number, failing: number): Promise<void> => {
    const done = new AbortController();
    let failures = failing;
    await bus.consumeReports({ durable: 'test', cluster, signal: done.signal }, ({ report }) => {
      const { silent_ms } = report.data as { silent_ms: number };
      if (silent_ms === 2 && failures-- > 0) throw new Error('not now');
      handled.push(silent_ms);
      if (handled.length === count) done.abort();
    });
  };
  await consume(3, 2);
  expect([...handled].sort()).toEqual([1, 2, 3]);
  await bus.report(cluster, 'host-a', suspected('host-b', 4));
  await consume(4, 0);
  expect(handled.at(-1)).toBe(4);
});

it('a conflict on the first try is a conflict, whatever the tip is called', async () => {
  const cluster = randomUUID();
  await appendRun(bus, cluster, 1, 1);
  await expect(bus.append(cluster, resumed(2), start)).rejects.toBeInstanceOf(AppendConflict);
  await expect(bus.append(cluster, resumed(2), { expected: 10_000, previous: null })).rejects.toBeInstanceOf(AppendConflict);
});
