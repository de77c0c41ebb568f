import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiError, Bus, serverConfig, userName, type Service } from '@virtcft/bus';
import { ClusterSpec, type Decision } from '@virtcft/events';
import { TestServer } from '../../../libs/bus/test/nats-server.js';
import { run } from '../src/index.js';

const hash = 'c'.repeat(64);
const id = randomUUID();
const spec = ClusterSpec.parse({
  apiVersion: 'virtcft/v1', name: 'shop', hosts: ['a', 'b', 'c'],
  vms: [{ name: 'db', kernel: '/k', mac: '52:54:00:00:00:01', host: 'a' }, { name: 'web', kernel: '/k', mac: '52:54:00:00:00:02', address: '10.88.0.12' }],
});
const identity = { driver: 'qemu', version: '7.2', machine: 'q35', accel: 'tcg', cpu: 'qemu64' } as const;
const agents: Record<string, string> = { a: randomUUID(), b: randomUUID(), c: randomUUID() };
const cut = (epoch: number) => ({ key: `cuts/1-${epoch}`, hash, generation: 1, epoch });
const decisions: Decision[] = [
  { type: 'cluster.created', data: { log: 'a'.repeat(32), spec } },
  ...['a', 'b', 'c'].map((host, number): Decision => ({ type: 'host.admitted', data: { host, number, agent: agents[host] ?? '', tunnel: { address: '10.77.0.2', port: 7000 }, identity, memory_mib: 1024, vcpus: 2 } })),
  { type: 'cluster.started', data: { generation: 1, incarnation: 'b'.repeat(32), epoch: 1, placement: { db: 'a', web: 'b' } } },
  { type: 'epoch.opened', data: { generation: 1, epoch: 1, members: [{ host: 'a', agent: agents['a'] ?? '', vms: ['db'] }, { host: 'b', agent: agents['b'] ?? '', vms: ['web'] }] } },
  { type: 'epoch.committed', data: { generation: 1, epoch: 1, cut: cut(1), previous: null } },
];

let server: TestServer;
let coordinator: Bus;
let store: Bus;
let folder: string;
let file: string;
/** What the services in this test were asked. */
const asked: { verb: string; body: unknown }[] = [];

beforeAll(async () => {
  const users: Service[] = ['coordinator', 'replica-store', 'operator', 'consumer'];
  server = await TestServer.start(({ port, storeDir }) => serverConfig({ port, storeDir, users: users.map((service) => ({ service, password: `pw-${service}` })) }));
  const as = (service: Service): Promise<Bus> => Bus.connect({ servers: server.url, name: service, user: userName(service), password: `pw-${service}` });
  [coordinator, store] = [await as('coordinator'), await as('replica-store')];
  await coordinator.provisionStreams();
  let tip: { expected: number; previous: string | null } = { expected: 0, previous: null };
  for (const decision of decisions) {
    const stored = await coordinator.append(id, decision, tip);
    tip = { expected: stored.sequence, previous: stored.hash };
  }
  await coordinator.report(id, 'coordinator', { type: 'alarm.raised', data: { alarm: 'no-spare', detail: 'no host has room' } });
  folder = await mkdtemp(join(tmpdir(), 'virtcft-cli-'));
  file = join(folder, 'cluster.yaml');
  await writeFile(file, JSON.stringify(spec));
  await writeFile(join(folder, 'password'), 'pw-operator\n');
});
afterAll(async () => {
  await coordinator.close();
  await store.close();
  await server.stop();
  await rm(folder, { recursive: true });
});

interface Ran { code: number; out: string; err: string }
async function virtcft(line: string, env: Record<string, string> = {}, signal = new AbortController().signal, onOut: (text: string) => void = () => {}): Promise<Ran> {
  let [out, err] = ['', ''];
  const code = await run(line.split(' ').filter(Boolean), {
    out: (text) => { out += text; onOut(text); }, err: (text) => { err += text; }, signal, terminal: false,
    env: { VIRTCFT_NATS_URL: server.url, VIRTCFT_NATS_USER: 'operator', VIRTCFT_NATS_PASSWORD_FILE: join(folder, 'password'), ...env },
  });
  return { code, out, err };
}
const json = async (line: string): Promise<Record<string, never>> => {
  const { code, out, err } = await virtcft(`${line} --output json`);
  if (code !== 0) throw new Error(err);
  return JSON.parse(out) as Record<string, never>;
};

describe('without a coordinator', () => {
  it('status is folded from the log, and says so', async () => {
    const { code, out, err } = await virtcft('status');
    expect(code).toBe(0);
    expect(err).toContain('no coordinator answers');
    expect(out).toMatch(/cluster: +shop \(/);
    expect(out).toMatch(/newest cut: +1-1/);
    expect(out).toMatch(/protection: +on/);
    expect(out).toContain('c: admitted, spare');
  });

  it('what only it can do is unavailable: 4, with what to do next', async () => {
    const { code, err } = await virtcft('protect shop');
    expect(code).toBe(4);
    expect(err).toMatch(/no coordinator answers on this bus/);
    expect(err).toMatch(/next: start coordinator/);
  });
});

describe('with a coordinator', () => {
  beforeAll(async () => {
    const view = {
      id, name: 'shop', stage: 'running', waits_for: null, protected: true, generation: 1, epoch: 2, open: [], tip: cut(1), basis: null, epochs: { committed: 1, aborted: 0 }, recoveries: 0,
      cause: null, halted: null, placement: { db: 'a', web: 'b' }, alarms: [{ alarm: 'no-spare', detail: 'no host has room' }], spec,
      hosts: ['a', 'b'].map((host, number) => ({ host, number, agent: agents[host], status: 'admitted', reason: null, memory_mib: 1024, vms: host === 'a' ? ['db'] : ['web'] })),
    };
    const serve = (bus: Bus, service: string, verb: string, answer: (body: never) => unknown): void => bus.serve(service, verb, async (body) => {
      asked.push({ verb, body });
      return answer(body as never);
    });
    serve(coordinator, 'coordinator', 'get', () => ({ clusters: [view] }));
    serve(coordinator, 'coordinator', 'hosts', () => ({ hosts: [{ host: 'a', agent: agents['a'], tunnel: { address: '10.77.0.2', port: 7000 }, identity, tracker: 'pagemap-scan', memory_mib: 1024, vcpus: 2, alive: true, cluster: 'shop', vms: ['db'], free_mib: 700 }] }));
    serve(coordinator, 'coordinator', 'apply', (body: { spec: ClusterSpec }) => {
      if (body.spec.hosts.length < 3) throw new ApiError('not-allowed', 'hosts cannot change now', 'keep c in the list');
      return { cluster: id, name: 'shop', created: true, changed: [], status: { ...view, stage: 'waiting', tip: null, waits_for: 'hosts a and b' } };
    });
    for (const verb of ['protect', 'unprotect', 'stop']) serve(coordinator, 'coordinator', verb, () => ({ ...view, protected: verb !== 'unprotect', stage: verb === 'stop' ? 'stopped' : 'running' }));
    serve(coordinator, 'coordinator', 'restore', (body: { generation: number; epoch: number; dry_run: boolean }) => {
      if (body.epoch !== 1) throw new ApiError('not-found', 'no such cut', 'list them');
      return { dry_run: body.dry_run, cut: cut(1), lost: { epochs: 7, seconds: 0.7 }, vms: ['db', 'web'] };
    });
    serve(store, 'replica-store', 'cuts', () => ({ cuts: [{ ...cut(1), vms: 2, time: new Date().toISOString() }] }));
    serve(store, 'replica-store', 'gc', ({ dry_run }: { dry_run: boolean }) => ({
      dry_run, objects: [{ key: 'c/packs/x', bytes: 2_097_152, why: 'only cuts that are not retained hold it' }], objects_total: 1, bytes: 2_097_152, waiting_total: 3, waiting_bytes: 1_048_576, retained: 2, cuts: 7,
    }));
    serve(store, 'replica-store', 'keys', () => ({
      current: 'b', plain_accepted: false, keys: [{ id: null, current: false, known: true, objects: 2, bytes: 9 }, { id: 'a', current: false, known: true, objects: 0, bytes: 0 }, { id: 'b', current: true, known: true, objects: 7, bytes: 2_097_152 }, { id: 'c', current: false, known: false, objects: 1, bytes: 1 }],
    }));
    const verification = { id, state: 'running', detail: '', cuts: 0, cuts_total: 2, objects: 0, read_bytes: 0, faults: [], faults_total: 0, broken: [], broken_total: 0, digests: null };
    serve(store, 'replica-store', 'verify', () => verification);
    serve(store, 'replica-store', 'verification', () => {
      const all = asked.some(({ body }) => (body as { all?: boolean }).all);
      const fault = { key: 'c/packs/x', part: 'page section', reason: 'its checksum differs' };
      return { ...verification, state: 'done', cuts: 2, objects: 9, read_bytes: 1_048_576, ...(all ? { faults: [fault], faults_total: 1, broken: ['c/cuts/2'], broken_total: 1 } : { digests: { db: hash } }) };
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
  });
  beforeEach(() => { asked.length = 0; });

  it('apply sends the file and tells what came of it; --wait goes on until the first cut', async () => {
    const applied = await virtcft(`apply -f ${file}`);
    expect(applied).toMatchObject({ code: 0, out: 'cluster shop created; waiting, protection not now: waiting; waits for hosts a and b\n' });
    expect(asked).toMatchObject([{ verb: 'apply', body: { spec, by: expect.stringContaining('virtcft') } }]);
    expect(await json(`apply -f ${file} --wait --timeout 5`)).toMatchObject({ created: true, status: { stage: 'running', tip: { epoch: 1 } } });
  });

  it('apply --dry-run asks nobody', async () => {
    expect((await virtcft(`apply -f ${file} --dry-run`, { VIRTCFT_NATS_URL: 'nats://127.0.0.1:1' })).out).toContain('correct cluster file: cluster shop, 2 VMs on 3 hosts, a cut every 100 ms');
  });

  it('a wrong file is wrong usage, a file the cluster cannot follow is refused', async () => {
    const wrong = join(folder, 'wrong.yaml');
    await writeFile(wrong, 'apiVersion: virtcft/v1\nname: Shop\nhosts: [a]\nvms: []\n');
    const { code, err } = await virtcft(`apply -f ${wrong}`);
    expect(code).toBe(2);
    expect(err).toMatch(/wrong\.yaml:2:1: name: use 1-40/);
    await writeFile(wrong, JSON.stringify({ ...spec, hosts: ['a', 'b'] }));
    expect(await virtcft(`apply -f ${wrong}`)).toMatchObject({ code: 5, err: 'virtcft: hosts cannot change now\n  next: keep c in the list\n' });
    expect((await virtcft('apply -f /nowhere.yaml')).code).toBe(2);
  });

  it('status, get and describe show it to people and machines', async () => {
    expect((await virtcft('status')).out).toMatch(/protection: +on, but no-spare/);
    expect(await json('status shop')).toMatchObject({ id, stage: 'running' });
    expect(await json('get clusters')).toMatchObject({ clusters: [{ name: 'shop' }] });
    expect((await virtcft('get hosts')).out.split('\n')[1]).toMatch(/^a +yes +shop +db +1024 +700/);
    expect(await json('get vms')).toMatchObject({ vms: [{ vm: 'db', host: 'a' }, { vm: 'web', host: 'b', address: '10.88.0.12' }] });
    expect(await json('get cuts --limit 5')).toMatchObject({ cuts: [{ generation: 1, epoch: 1 }] });
    expect(asked.at(-1)).toMatchObject({ verb: 'cuts', body: { cluster: id, limit: 5 } });
    expect(await json('get epochs --since 1h')).toMatchObject({ epochs: [{ epoch: 1, outcome: 'committed' }] });
    expect((await virtcft('describe vm web')).out).toMatch(/runs on: +b/);
    expect((await virtcft('describe host a')).out).toMatch(/memory: +1024 MiB, 700 MiB free/);
    expect((await virtcft('describe cut 1-1')).out).toContain(hash);
    expect((await virtcft('describe cluster shop')).out).toContain('no-spare: no host has room');
  });

  it('verify says what was read, names what is damaged, and then exits 1', async () => {
    const sound = await virtcft('verify --cut 1-1');
    expect(asked.at(-2)).toEqual({ verb: 'verify', body: { cluster: id, cut: { generation: 1, epoch: 1 }, all: false } });
    expect(sound).toMatchObject({ code: 0, out: expect.stringMatching(/read: +2 of 2 cuts, 9 objects, 1\.0 MiB[^]*folded:\s+db[^]*nothing is wrong/) });
    expect(await json('verify')).toMatchObject({ cluster: 'shop', state: 'done', faults_total: 0, digests: { db: hash } });
    const damaged = await virtcft('verify --all');
    expect(damaged).toMatchObject({ code: 1, out: expect.stringMatching(/page section +its checksum differs +c\/packs\/x/), err: expect.stringContaining('1 faults; 1 of 2 cuts cannot be restored') });
    const machine = await virtcft('verify --all --output json');
    expect([machine.code, JSON.parse(machine.out)]).toMatchObject([1, { faults: [{ key: 'c/packs/x', part: 'page section' }], broken: ['c/cuts/2'] }]);
    expect((await virtcft('verify --all --cut 1-1')).code).toBe(2);
  });

  it('gc says what it would remove, and does it only with a yes', async () => {
    expect(await virtcft('gc')).toMatchObject({ code: 5, err: expect.stringContaining('removes 1 objects, 2.0 MiB, of cluster shop for ever') });
    expect(await virtcft('gc --dry-run')).toMatchObject({ code: 0, out: expect.stringMatching(/retained: +2 of 7 cuts: no retention is set[^]*would remove: +1 objects, 2\.0 MiB[^]*in their grace: +3 objects, 1\.0 MiB[^]*c\/packs\/x +2097152 +only cuts/) });
    expect(asked.some(({ verb, body }) => verb === 'gc' && !(body as { dry_run: boolean }).dry_run)).toBe(false);
    expect(await json('gc --yes')).toMatchObject({ cluster: 'shop', dry_run: false, objects_total: 1 });
  });

  it('keys says which keys the objects need', async () => {
    expect((await virtcft('keys')).out).toMatch(/current: +b\n[^]*refused[^]*\(not sealed\) +2 [^]*\na +0 +0\.0 +of no use[^]*\nb +7 +2\.0 +current[^]*\nc +1 +0\.0 +NOT IN THE FILE/);
    expect((await json('keys'))['keys']).toHaveLength(4);
  });

  it('what is not there: 3, with what is', async () => {
    expect(await virtcft('status other')).toMatchObject({ code: 3, err: expect.stringContaining('there are: shop') });
    for (const line of ['describe vm x', 'describe host x', 'describe cut 1-9', 'restore --cut 1-9 --yes', '--cluster nobody get vms']) expect([line, (await virtcft(line)).code]).toEqual([line, 3]);
  });

  it('protect, unprotect and stop say how the cluster then is; stop wants a yes', async () => {
    expect((await virtcft('unprotect')).out).toBe('cluster shop: running, protection off\n');
    expect((await virtcft('protect shop')).code).toBe(0);
    expect(await virtcft('stop')).toMatchObject({ code: 5, err: expect.stringContaining('ends its 2 VMs') });
    expect(asked.map(({ verb }) => verb)).not.toContain('stop');
    expect((await virtcft('stop --yes')).out).toContain('stopped');
    expect(asked.at(-1)).toMatchObject({ verb: 'stop', body: { cluster: 'shop' } });
  });

  it('restore says what would be lost, and does it only with a yes', async () => {
    const dry = await virtcft('restore --cut 1-1 --dry-run');
    expect(dry.code).toBe(0);
    expect(dry.out).toMatch(/would lose: +7 epochs, 700 ms/);
    expect(await virtcft('restore --cut 1-1')).toMatchObject({ code: 5, err: expect.stringContaining('say --yes') });
    expect(asked.filter(({ verb }) => verb === 'restore').map(({ body }) => body)).toEqual(Array(2).fill(expect.objectContaining({ dry_run: true, confirm: false })));
    expect((await virtcft('restore --cut 1-1 --yes')).out).toMatch(/loses: +7 epochs/);
    expect(asked.at(-1)?.body).toMatchObject({ generation: 1, epoch: 1, dry_run: false, confirm: true });
    expect((await virtcft('restore --cut latest')).code).toBe(2);
  });

  it('an answer of another shape is not trusted', async () => {
    const other = await Bus.connect({ servers: server.url, name: 'x', user: 'replica-store', password: 'pw-replica-store' });
    await store.close();
    other.serve('replica-store', 'cuts', async () => ({ cuts: [{ epoch: 'x' }] }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await virtcft('get cuts')).toMatchObject({ code: 1, err: expect.stringContaining('use the virtcft of the same version') });
    await other.close();
    expect((await virtcft('get cuts')).code).toBe(4);
  });
});

describe('events', () => {
  it('what happened, in time, for people', async () => {
    const { out } = await virtcft('events --since 1h');
    const lines = out.trim().split('\n');
    expect(lines).toHaveLength(decisions.length + 1);
    expect(lines[0]).toMatch(/decision {2}cluster\.created/);
    expect(lines.at(-1)).toMatch(/report {4}alarm\.raised +coordinator: alarm=no-spare detail=no host has room/);
    expect((await virtcft('events --since 1h --decisions --type host')).out.trim().split('\n')).toHaveLength(3);
  });

  it('as CloudEvents for machines, and live with --follow until it is stopped', async () => {
    const [stop, lines] = [new AbortController(), [] as string[]];
    const line = `events --since 1h --follow --type cluster --decisions --cluster shop --output json`;
    const { code } = await virtcft(line, {}, stop.signal, (text) => {
      lines.push(text);
      if (lines.length === 2) {
        void coordinator.readDecisions(id).then((log) => coordinator.append(id, { type: 'cluster.stopped', data: { by: 'test' } }, { expected: log.at(-1)?.sequence ?? 0, previous: log.at(-1)?.hash ?? null }));
      }
      if (lines.length === 3) stop.abort();
    });
    expect(code).toBe(0);
    expect(lines.map((text) => JSON.parse(text) as unknown)).toMatchObject([{ specversion: '1.0', type: 'virtcft.v1.cluster.created', subject: id }, { type: 'virtcft.v1.cluster.started' }, { type: 'virtcft.v1.cluster.stopped', data: { by: 'test' } }]);
  });
});

describe('usage', () => {
  it('help, version and schema need no bus', async () => {
    const nowhere = { VIRTCFT_NATS_URL: 'nats://127.0.0.1:1' };
    const help = await virtcft('--help', nowhere);
    expect(help.code).toBe(0);
    for (const word of ['apply', 'status', 'get', 'describe', 'events', 'protect', 'unprotect', 'restore', 'stop', 'schema', '--nats', '--password-file', '--cluster', '--output', 'Exit codes']) expect(help.out).toContain(word);
    expect((await virtcft('version', nowhere)).out).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(JSON.parse((await virtcft('schema', nowhere)).out)).toMatchObject({ type: 'object', properties: { vms: { type: 'array' } } });
  });

  it.each(['', 'nonsense', 'get nonsense', 'apply', 'get cuts --limit x', 'events --since soon', 'status --output xml', 'restore'])('"%s" is wrong usage', async (line) => {
    const { code, err } = await virtcft(line);
    expect(code).toBe(2);
    expect(err).not.toBe('');
  });

  it('nobody at the address: 4; wrong password or a user without the right: 5; errors as JSON for machines', async () => {
    expect((await virtcft('status', { VIRTCFT_NATS_URL: 'nats://127.0.0.1:1' })).code).toBe(4);
    await writeFile(join(folder, 'wrong'), 'wrong');
    expect(await virtcft(`--password-file ${join(folder, 'wrong')} status`)).toMatchObject({ code: 5, err: expect.stringContaining('refused user "operator"') });
    expect((await virtcft('--password-file /nowhere status')).code).toBe(2);
    await writeFile(join(folder, 'consumer'), 'pw-consumer');
    const { code, err } = await virtcft(`--user consumer --password-file ${join(folder, 'consumer')} stop shop --yes --output json`);
    expect(code).toBe(5);
    expect(JSON.parse(err)).toMatchObject({ error: { code: 'refused', next: expect.stringContaining('operator') } });
  });
});
