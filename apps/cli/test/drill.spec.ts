import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bus, serverConfig, userName, type Service } from '@virtcft/bus';
import { ClusterSpec } from '@virtcft/events';
import { TestServer } from '../../../libs/bus/test/nats-server.js';
import { drill, type DrillOptions } from '../src/commands/drill.js';
import { givesWay } from '../src/drill/gives-way.js';
import { CliError } from '../src/exit.js';

const id = randomUUID();
const hash = 'c'.repeat(64);
const cut = { key: 'cuts/1-7', hash, generation: 1, epoch: 7 };
const spec = ClusterSpec.parse({ apiVersion: 'virtcft/v1', name: 'shop', hosts: ['a'], vms: [{ name: 'db', kernel: '/k', mac: '52:54:00:00:00:01' }] });
const view = {
  id, name: 'shop', stage: 'running', waits_for: null, protected: true, generation: 1, epoch: 8, open: [], tip: cut, basis: null, epochs: { committed: 7, aborted: 0 }, recoveries: 0,
  cause: null, halted: null, placement: { db: 'a' }, alarms: [], spec, hosts: [],
};

let server: TestServer;
let coordinator: Bus;
let folder: string;
/** The cluster as the coordinator has it now, and its pins. */
let now: { stage: string; generation: number };
let pins: string[];

beforeAll(async () => {
  const users: Service[] = ['coordinator', 'operator'];
  server = await TestServer.start(({ port, storeDir }) => serverConfig({ port, storeDir, users: users.map((service) => ({ service, password: `pw-${service}` })) }));
  coordinator = await Bus.connect({ servers: server.url, name: 'coordinator', user: userName('coordinator'), password: 'pw-coordinator' });
  coordinator.serve('coordinator', 'get', () => Promise.resolve({ clusters: [{ ...view, ...now }] }));
  coordinator.serve('coordinator', 'pin', (body) => {
    const { name, by } = body as { name: string; by: string };
    pins.push(name);
    return Promise.resolve({ name, cut, by });
  });
  coordinator.serve('coordinator', 'unpin', (body) => {
    const { name } = body as { name: string };
    pins = pins.filter((pin) => pin !== name);
    return Promise.resolve({ name });
  });
  folder = await mkdtemp(join(tmpdir(), 'virtcft-cli-'));
});
beforeEach(() => { [now, pins] = [{ stage: 'running', generation: 1 }, []]; });
afterAll(async () => {
  await coordinator.close();
  await server.stop();
  await rm(folder, { recursive: true });
});

/** Drills with a program of these lines in the place of the real one; `began` is called when it has its plan. */
async function drilled(program: string, began: () => void = () => undefined, signal = new AbortController().signal): Promise<{ code: number; message: string; out: string; err: string }> {
  const main = join(folder, `${randomUUID()}.mjs`);
  await writeFile(main, `import { createInterface } from 'node:readline';
const say = (message) => process.stdout.write(JSON.stringify(message) + '\\n');
process.once('SIGTERM', () => { say({ kind: 'torn-down', what: ['all'] }); process.exit(0); });
createInterface(process.stdin).once('line', (line) => { const plan = JSON.parse(line); say({ kind: 'progress', text: 'begun ' + plan.cut.epoch }); ${program} });\n`);
  let [out, err] = ['', ''];
  const io = {
    out: (text: string) => { out += text; },
    err: (text: string) => {
      err += text;
      if (text.includes('begun')) began();
    },
    env: { PATH: process.env['PATH'], VIRTCFT_NATS_PASSWORD: 'pw-operator' }, signal, terminal: false,
  };
  const options: DrillOptions = { nats: server.url, user: 'operator', output: 'json', timeout: 5, settle: 5, directory: folder };
  try {
    await drill(io, options, main);
    return { code: 0, message: '', out, err };
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    return { code: error.exitCode, message: error.message, out, err };
  }
}
const result = (more: object): string => `say(${JSON.stringify({ kind: 'result', result: { ok: true, reason: null, vms: [], fold_ms: 1, load_ms: 2, check: null, ...more } })}); process.exit(0);`;
const stays = 'setInterval(() => undefined, 1000);';

describe('virtcft drill', () => {
  it('gives way to a raise and to any stage but running, and to nothing else', () => {
    const then = { stage: 'running', generation: 3 };
    expect(givesWay(then, { ...then })).toBeNull();
    expect(givesWay(then, { stage: 'running', generation: 4 })).toBe('the cluster is raised to generation 4');
    for (const stage of ['raising', 'stopped', 'halted', 'planned']) expect(givesWay(then, { stage, generation: 3 })).toBe(`the cluster is ${stage}`);
  });

  it('holds its cut with a pin while it runs, and takes that away whatever comes of it', async () => {
    let held: string[] = [];
    const passed = await drilled(result({}), () => { held = [...pins]; });
    expect(passed).toMatchObject({ code: 0, err: 'drill: begun 7\ndrill: passed\n' });
    expect(held).toEqual([expect.stringMatching(/^drill-[0-9a-f]{6}$/)]);
    expect(JSON.parse(passed.out)).toMatchObject({ drill: held[0], cluster: 'shop', cut, ok: true, gave_way: false, torn_down: [`pin ${held[0]}`] });
    expect(pins).toEqual([]);
    expect(await drilled(result({ ok: false, reason: 'VM db panicked' }))).toMatchObject({ code: 1, message: 'the drill failed: VM db panicked' });
    expect(await drilled('say({ kind: "refused", message: "no room", next: "" }); process.exit(0);')).toMatchObject({ code: 1, message: 'no room', out: '' });
    expect((await drilled('process.stdout.write("hello\\n");')).message).toContain('said what this virtcft does not know');
    expect((await drilled('process.exit(3);')).message).toContain('ended with 3 and said nothing');
    expect(pins).toEqual([]);
  });

  it('ends it at once when the cluster needs its machines, or Ctrl-C is pressed', async () => {
    const gave = await drilled(stays, () => { now = { stage: 'raising', generation: 1 }; });
    expect(gave).toMatchObject({ code: 6, message: 'the drill gave way: the cluster is raising' });
    expect(JSON.parse(gave.out)).toMatchObject({ ok: false, gave_way: true, torn_down: ['all', expect.stringMatching(/^pin /)] });
    now = { stage: 'running', generation: 1 };
    const stop = new AbortController();
    expect((await drilled(stays, () => { stop.abort(); }, stop.signal)).message).toContain('nothing of it is left');
    expect(pins).toEqual([]);
  });

  it('is refused while the cluster is not running', async () => {
    now = { stage: 'stopped', generation: 1 };
    expect(await drilled('')).toMatchObject({ code: 5, message: 'cluster shop is stopped: a drill would be in its way' });
  });
});
