import { mkdirSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { join } from 'node:path';
import { MANAGEMENT, type Program } from '@virtcft/lab';
import { PATIENCE_MS, ProtectedCluster, run, until, type Ran } from './protected-cluster.js';

const apps = join(import.meta.dirname, '..', '..', 'apps');
const main = (app: string): string => join(apps, app, 'dist', 'main.js');
const FOLDER_MIB = 160;

describe('what is wrong is said, with what to do', () => {
  let cluster: ProtectedCluster;
  const state = () => cluster.watch.state;

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts: ['alpha'], memory_mib: 1024 }, async (lab) => {
      // The store's folder is a small disk of its own, which can be filled.
      mkdirSync(join(lab.dir, 'store'));
      await lab.exec(null, ['mount', '-t', 'tmpfs', '-o', `size=${FOLDER_MIB}m`, 'store', join(lab.dir, 'store')]);
    });
  }, 2 * PATIENCE_MS);
  afterAll(async () => { await cluster.close(); }, PATIENCE_MS);
  afterEach(() => { expect(cluster.installation.fallen()).toEqual([]); });

  it('every mistake of a cluster file: where it is and what to write; exit code 2', async () => {
    const file = cluster.write('wrong.yaml', [
      'apiVersion: virtcft/v2', 'name: Shop', 'hosts: [alpha]', 'intervall_ms: 100', 'vms:',
      '  - name: db', '    kernel: vmlinuz', '    mac: 52:54:00:00:00:01', '    host: omega', '  - name: web', '    memory_mib: 16', '    kernel: /k', ''].join('\n'));
    const { code, err } = await cluster.virtcft('apply', '-f', file);
    expect(code).toBe(2);
    for (const line of [`${file}:1:1: apiVersion: write virtcft/v1`, `${file}:2:1: name: use 1-40 of a-z`, `${file}:4:1: intervall_ms: there is no such key; did you mean interval_ms?`,
      `${file}:7:5: vms[0].kernel: give an absolute path`, `${file}:11:5: vms[1].memory_mib: `, 'vms[1].mac: is missing; write a string', 'next: correct the file; "virtcft schema" prints all it may say']) {
      expect(err).toContain(line);
    }
    expect(state().spec).toBeNull();

    const syntax = await cluster.virtcft('apply', '-f', cluster.write('broken.yaml', 'name: [shop\nvms: ]\n'));
    expect(syntax.code).toBe(2);
    expect(syntax.err).toMatch(/broken\.yaml:\d+:\d+: /);
    const missing = await cluster.virtcft('apply', '-f', '/nowhere/cluster.yaml');
    expect(missing.code).toBe(2);
    expect(missing.err).toContain('/nowhere/cluster.yaml cannot be read: ENOENT');
  }, PATIENCE_MS);

  it('a cluster, host, VM or cut that is not there: exit code 3', async () => {
    for (const [words, message] of [
      [['status', 'nowhere'], 'there is no cluster "nowhere"'], [['protect', 'nowhere'], 'there is no cluster "nowhere"'], [['get', 'vms'], 'there is no cluster'],
      [['describe', 'host', 'omega'], 'there is no host "omega"\n  next: there are: alpha'],
    ] as const) {
      const { code, err } = await cluster.virtcft(...words);
      expect({ words, code }).toEqual({ words, code: 3 });
      expect(err).toContain(message);
    }
  }, PATIENCE_MS);

  it('wrong credentials: who was refused and what to give', async () => {
    // Where nothing stands between: a refusal that is followed by a hang-up may not outlive a forwarder.
    const refused = async (name: string, user: 'operator' | 'failover', ...command: string[]): Promise<{ code: number | null; text: string }> => {
      const program = cluster.lab.start(null, { name, command: [process.execPath, ...command], env: { ...cluster.installation.nats.environment(user), VIRTCFT_NATS_PASSWORD: 'wrong' } });
      return { code: await endOf(program), text: program.tail() };
    };
    const cli = await refused('refused-cli', 'operator', main('cli'), 'status');
    expect(cli.code).toBe(5);
    expect(cli.text).toMatch(/refused user "operator"\n {2}next: give the user and password/);
    const service = await refused('refused-failover', 'failover', main('failover'));
    expect(service.code).toBe(1);
    expect(service.text).toMatch(/refused user \\?"failover/);
    expect(service.text).toContain('VIRTCFT_NATS_PASSWORD_FILE');
  }, PATIENCE_MS);

  it('a bus that cannot be reached, and a server that is too old', async () => {
    const old = await oldServer();
    try {
      const { port } = old.address() as AddressInfo;
      const cli = await run(main('cli'), ['--nats', `nats://127.0.0.1:${port}`, 'status']);
      expect(cli.code).toBe(4);
      expect(cli.err).toMatch(/is version 2\.9\.25; 2\.12\.0 or newer is needed\n {2}next: install a newer nats-server/);
      const service = await run(main('coordinator'), [], { VIRTCFT_NATS_URL: `nats://127.0.0.1:${port}`, VIRTCFT_STORE: `file://${join(cluster.lab.dir, 'other')}` });
      expect(service.code).toBe(1);
      expect(said(service)).toContain('is version 2.9.25; 2.12.0 or newer is needed');
    } finally {
      await new Promise((resolve) => old.close(resolve));
    }
    const nobody = await run(main('cli'), ['--nats', 'nats://127.0.0.1:1', 'status']);
    expect(nobody.code).toBe(4);
    expect(nobody.err).toContain('cannot be reached');
  }, PATIENCE_MS);

  it('a port that is in use: which one, and the variable that changes it', async () => {
    const second = cluster.lab.start(null, { name: 'second-store', command: [process.execPath, main('replica-store')], env: {
      ...cluster.installation.nats.environment('replica-store'), VIRTCFT_STORE: cluster.installation.store, VIRTCFT_DATA_DIR: join(cluster.lab.dir, 'second'), VIRTCFT_HTTP_ADDRESS: MANAGEMENT.site,
    } });
    expect(await endOf(second)).toBe(1);
    expect(second.tail()).toContain(`${MANAGEMENT.site}:7780 is in use; set VIRTCFT_HTTP_PORT to a free port`);
    const wrong = await run(main('replica-store'), [], { VIRTCFT_HTTP_PORT: 'many', VIRTCFT_STORE: '' });
    expect(wrong.code).toBe(2);
    expect(wrong.err).toContain('VIRTCFT_STORE: is missing');
    expect(wrong.err).toContain('VIRTCFT_HTTP_PORT: ');
  }, PATIENCE_MS);

  it('a kernel that is not there: the start fails aloud, and a corrected file starts the cluster after it was stopped', async () => {
    const guests = [{ name: 'lone', role: 'bank', host: 'alpha', memory_mib: 80 }] as const;
    const right = cluster.file('tight', guests, { epoch_deadline_ms: 1_000 });
    const { kernel } = (JSON.parse((await cluster.virtcft('apply', '-f', right, '--dry-run', '--output', 'json')).out) as { vms: [{ kernel: string }] }).vms[0];
    const wrong = cluster.file('tight', guests, { epoch_deadline_ms: 1_000, vms: [{ name: 'lone', host: 'alpha', memory_mib: 80, kernel: `${kernel}.gone`, mac: '52:54:00:99:00:00' }] });
    const failed = await cluster.virtcft('apply', '-f', wrong, '--wait', '--timeout', '60');
    expect(failed.code).toBe(1);
    expect(failed.err).toContain(`${kernel}.gone`);
    expect(failed.err).toContain('then "virtcft stop" and apply the cluster file again');

    expect((await cluster.virtcft('stop', 'tight', '--yes')).code).toBe(0);
    await cluster.watch.until('alpha offers itself again', PATIENCE_MS, () => state().hosts['alpha']?.status === 'admitted');
    const started = await cluster.virtcft('apply', '-f', cluster.file('tight', guests, { epoch_deadline_ms: 1_000 }), '--wait');
    expect(started).toMatchObject({ code: 0 });
    expect(await cluster.pattern('lone')).toMatchObject({ errors: 0 });
  }, 3 * PATIENCE_MS);

  it('a store without room: an alarm says so, epochs wait, and go on when there is room; every cut is still there', async () => {
    await cluster.commits(3);
    const filler = join(cluster.lab.dir, 'store', 'filler');
    const raised = (): number => cluster.facts('alarm.raised').filter(({ alarm }) => alarm === 'store-unavailable').length;
    // To the last byte: dd ends with an error, as meant.
    await cluster.lab.exec(null, ['sh', '-c', `dd if=/dev/zero of=${filler} bs=64k 2>/dev/null || true`]);
    await cluster.watch.until('the alarm', PATIENCE_MS, () => raised() > 0);
    // A small manifest may still find room when a pack does not: the alarm stands when the whole window waits.
    const alarms = async (): Promise<string[]> => (await cluster.json<{ alarms: { alarm: string }[] }>('status', 'tight')).alarms.map(({ alarm }) => alarm);
    await until('the alarm stands', async () => (await alarms()).includes('store-unavailable') && state().open.length === state().spec?.window);
    const { tip } = state();
    const { committed } = state().epochs;

    await cluster.lab.exec(null, ['rm', filler]);
    await cluster.commits(5);
    await cluster.watch.until('the alarm is over', PATIENCE_MS, () => cluster.facts('alarm.cleared').some(({ alarm }) => alarm === 'store-unavailable'));
    await until('the status shows it no more', async () => !(await alarms()).includes('store-unavailable'));
    expect(state().epochs.committed).toBeGreaterThan(committed);
    const cuts = cluster.facts('epoch.committed');
    expect(cuts.slice(1).map(({ previous }) => previous)).toEqual(cuts.slice(0, -1).map(({ cut }) => cut.hash));
    expect(await cluster.pattern('lone')).toMatchObject({ errors: 0 });

    // The last cut before the disk was full can be gone back to.
    const name = `${tip?.generation}-${tip?.epoch}`;
    const { generation } = state();
    expect((await cluster.virtcft('restore', '--cut', name, '--dry-run')).out).toContain(`cut ${name} of cluster tight`);
    expect((await cluster.virtcft('restore', '--cut', name)).code).toBe(5);
    expect((await cluster.virtcft('restore', '--cut', name, '--yes')).code).toBe(0);
    await cluster.recovered(generation);
    expect(cluster.facts('generation.raised').at(-1)?.basis).toEqual(tip);
    expect(await cluster.pattern('lone')).toMatchObject({ errors: 0 });

    const unknown = await cluster.virtcft('restore', '--cut', '7-1', '--yes');
    expect(unknown.code).toBe(3);
    expect(unknown.err).toContain('has no committed cut 7-1');
    expect((await cluster.virtcft('describe', 'vm', 'ghost')).code).toBe(3);
  }, 4 * PATIENCE_MS);
});

const said = ({ out, err }: Ran): string => `${out}${err}`;

async function endOf(program: Program): Promise<number | null> {
  await until(`${program.name} ends`, () => !program.running);
  return (await program.ended).code;
}

/** As much of an old server as a client sees before it may speak. */
async function oldServer(): Promise<Server> {
  const server = createServer((socket) => {
    // A client that was told no hangs up in the middle of a line.
    socket.on('error', () => { socket.destroy(); });
    socket.on('data', (data: Buffer) => { if (data.includes('PING')) socket.write('PONG\r\n'); });
    socket.write(`INFO ${JSON.stringify({ server_id: 'OLD', version: '2.9.25', proto: 1, headers: true, max_payload: 1_048_576, jetstream: true, host: '127.0.0.1', port: 0 })}\r\n`);
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return server;
}
