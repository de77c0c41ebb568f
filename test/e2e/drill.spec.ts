import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GUEST_PORTS, guestAppend, guestImages, readLoad } from '@virtcft/lab';
import { z } from 'zod';
import { PATIENCE_MS, ProtectedCluster, until, type Guest, type Ran } from './protected-cluster.js';

const guests: Guest[] = [{ name: 'database', role: 'database', host: 'alpha', memory_mib: 128 }, { name: 'bank', role: 'bank', host: 'beta' }];
const Committed = z.object({ committed: z.boolean() });
const Rows = z.object({ rows: z.array(z.tuple([z.number(), z.string()])) });
interface Cuts { readonly cuts: readonly { readonly generation: number; readonly epoch: number; readonly hash: string }[] }
const Report = z.object({
  drill: z.string(), cut: z.object({ hash: z.string() }), ok: z.boolean(), gave_way: z.boolean(), reason: z.string().nullable(), vms: z.array(z.object({ vm: z.string(), began: z.string(), ended: z.string() })),
  fold_ms: z.number().nullable(), load_ms: z.number().nullable(), check: z.object({ exit_code: z.number().nullable(), timed_out: z.boolean(), tail: z.string() }).nullable(), torn_down: z.array(z.string()),
});
const reportOf = ({ out, err }: Ran): z.infer<typeof Report> => {
  if (out === '') throw new Error(`no report: ${err}`);
  return Report.parse(JSON.parse(out));
};

/** Everything that runs on this machine and is a drill's. */
const ofDrills = (): { pid: number; words: string }[] => readdirSync('/proc').filter((pid) => /^[0-9]+$/.test(pid)).flatMap((pid) => {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return words.includes('apps/drill/dist') || words.includes('mem-path=/dev/shm/vms') ? [{ pid: Number(pid), words }] : [];
  } catch {
    return [];
  }
});

// Asks the guests of a drill what they hold, and the machine that it is in what interfaces it has.
const CHECK = `
import { connect } from 'node:net';
import { execFileSync } from 'node:child_process';
const vms = Object.fromEntries(process.env.VIRTCFT_DRILL_VMS.split(' ').map((vm) => vm.split('=')));
const ask = (address, port, command) => new Promise((resolve, reject) => {
  const socket = connect(port, address).setTimeout(20_000, () => reject(new Error('no answer to ' + command))).on('error', reject);
  let text = '';
  socket.on('data', (data) => { text += data; if (text.includes('\\n')) { socket.destroy(); resolve(JSON.parse(text)); } });
  socket.write(command + '\\n');
});
const rows = (await ask(vms.database, ${GUEST_PORTS.database}, 'read 0 1')).rows.map(([number]) => number);
const wrote = (await ask(vms.database, ${GUEST_PORTS.database}, 'commit 0 9 ${'cd'.repeat(8)}9')).committed;
const pattern = await ask(vms.bank, ${GUEST_PORTS.patternControl}, 'status');
const interfaces = JSON.parse(execFileSync('ip', ['-json', 'link'])).map(({ ifname }) => ifname).sort();
console.log(JSON.stringify({ cut: process.env.VIRTCFT_DRILL_CUT, rows, wrote, errors: pattern.errors, interfaces, secrets: Object.keys(process.env).filter((name) => /STORE|NATS|AWS/.test(name)) }));
`;

// One cluster lives through everything below, in this order.
describe('a drill of a cut, beside the running cluster', () => {
  let cluster: ProtectedCluster;
  const { signal: never } = new AbortController();
  const ask = <T>(command: string, schema: z.ZodType<T>): Promise<T> => cluster.ask(cluster.address('database'), GUEST_PORTS.database, command, schema);
  const commit = async (number: number): Promise<void> => { expect(await ask(`commit 0 ${number} ${'ab'.repeat(8)}${number}`, Committed)).toEqual({ committed: true }); };
  const rows = async (): Promise<number[]> => (await ask('read 0 1', Rows)).rows.map(([number]) => number);
  const pins = async (): Promise<unknown[]> => (await cluster.json<{ pins: unknown[] }>('status', 'ledger')).pins;
  const folder = (): string => join(cluster.lab.dir, 'drills');
  /** A check that does not end by itself, and tells when it has begun. */
  const checking = (name: string): string => `touch ${join(cluster.lab.dir, name)}; sleep 600`;
  const begun = (name: string): Promise<void> => until('the check has begun', () => existsSync(join(cluster.lab.dir, name)));
  const nothingIsLeft = async (): Promise<void> => {
    expect(ofDrills()).toEqual([]);
    expect(readdirSync(folder())).toEqual([]);
    expect(await pins()).toEqual([]);
  };

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts: ['alpha', 'beta', 'gamma'], memory_mib: 2048, sealed: true });
    const images = guestImages();
    const load = readLoad('database');
    const disks = [{ name: 'data', source: images.disks.data }, { name: 'blocks', source: images.disks.blocks }];
    const plain = JSON.parse(readFileSync(cluster.file('ledger', guests, {}, ['alpha', 'beta', 'gamma']), 'utf8')) as { vms: { name: string }[] };
    const append = guestAppend({ address: cluster.address('database'), peers: [cluster.address('database')], role: 'database', load: { ...load.guest, probe: 0 }, disks: load.disks });
    const file = cluster.write('ledger.yaml', JSON.stringify({ ...plain, vms: plain.vms.map((vm) => (vm.name === 'database' ? { ...vm, append, disks } : vm)) }));
    cluster.write('check.mjs', CHECK);
    const applied = await cluster.virtcft('apply', '-f', file, '--wait');
    if (applied.code !== 0) throw new Error(applied.err);
    await commit(1);
  }, 4 * PATIENCE_MS);
  afterAll(async () => { await cluster.close(); }, PATIENCE_MS);

  it('shows its check the state of the cut, memory and disks, in a network that no other interface is in; the cluster goes on and learns nothing of it', async () => {
    await commit(2);
    await cluster.commits(2);
    const [then] = (await cluster.json<Cuts>('get', 'cuts', '--limit', '1')).cuts;
    const name = `${then!.generation}-${then!.epoch}`;
    await commit(3);
    const before = cluster.watch.state;
    const ran = await cluster.drill(never, '--cut', name, '--check', `node ${join(cluster.lab.dir, 'check.mjs')}`);
    const report = reportOf(ran);
    process.stderr.write(`${ran.err}folded in ${report.fold_ms ?? 0} ms, loaded in ${report.load_ms ?? 0} ms\n`);
    expect({ code: ran.code, reason: report.reason }).toEqual({ code: 0, reason: null });
    expect(report).toMatchObject({ ok: true, gave_way: false, cut: { hash: then!.hash }, check: { exit_code: 0, timed_out: false } });
    expect(report.vms).toMatchObject([{ vm: 'database', began: 'running', ended: 'running' }, { vm: 'bank', began: 'running', ended: 'running' }]);
    expect(JSON.parse(report.check!.tail)).toEqual({ cut: name, rows: [1, 2], wrote: true, errors: 0, interfaces: ['drill0', 'lo'], secrets: [] });
    expect(report.torn_down).toEqual(['the guests and the check', 'their network', 'their memory', 'the images of the cut', `pin ${report.drill}`]);
    await nothingIsLeft();
    expect(cluster.facts('cut.pinned')).toMatchObject([{ pin: { name: report.drill, cut: { hash: then!.hash } } }]);
    // What was written in the drill is not in the cluster, which committed all the time and had no recovery.
    expect(await rows()).toEqual([1, 2, 3]);
    expect(cluster.watch.state.generation).toBe(before.generation);
    expect(cluster.watch.state.epochs.committed).toBeGreaterThan(before.epochs.committed + 5);
    expect(cluster.installation.fallen()).toEqual([]);
  }, 4 * PATIENCE_MS);

  it('of the newest cut, without a check, passes when its guests run', async () => {
    const ran = await cluster.drill(never, '--settle', '3');
    expect({ code: ran.code, ...reportOf(ran) }).toMatchObject({ code: 0, ok: true, check: null });
    await nothingIsLeft();
  }, 2 * PATIENCE_MS);

  it('fails with its check, with what that said, and leaves nothing either', async () => {
    const ran = await cluster.drill(never, '--check', 'echo no such customer >&2; exit 3');
    expect(ran.code).toBe(1);
    expect(ran.err).toContain('the check ended with 3');
    expect(reportOf(ran)).toMatchObject({ ok: false, gave_way: false, check: { exit_code: 3, tail: 'no such customer\n' } });
    await nothingIsLeft();
  }, 2 * PATIENCE_MS);

  it('is ended by a signal in the middle, and leaves nothing', async () => {
    const stop = new AbortController();
    const drilling = cluster.drill(stop.signal, '--check', checking('ended'));
    await begun('ended');
    stop.abort();
    expect((await drilling).code).toBe(1);
    await nothingIsLeft();
  }, 2 * PATIENCE_MS);

  it('that is killed takes its guests with it and leaves a folder, which the next removes', async () => {
    const drilling = cluster.drill(never, '--check', checking('killed'));
    await begun('killed');
    const outside = ofDrills().find(({ words }) => words.includes('apps/drill/dist/main.js'));
    process.kill(outside!.pid, 'SIGKILL');
    expect((await drilling).code).toBe(1);
    await until('nothing of it runs', () => ofDrills().length === 0);
    expect(await pins()).toEqual([]);
    expect(readdirSync(folder())).toHaveLength(1);
    expect((await cluster.drill(never, '--settle', '1')).code).toBe(0);
    await nothingIsLeft();
  }, 4 * PATIENCE_MS);

  it('gives way to a recovery: it is gone before that is through, and says so', async () => {
    const { generation } = cluster.watch.state;
    const drilling = cluster.drill(never, '--check', checking('gives-way'));
    await begun('gives-way');
    await cluster.installation.killHost('beta');
    const ran = await drilling;
    expect(ran.code).toBe(6);
    expect(reportOf(ran)).toMatchObject({ ok: false, gave_way: true });
    await cluster.recovered(generation);
    await nothingIsLeft();
    expect(await rows()).toEqual([1, 2, 3]);
  }, 4 * PATIENCE_MS);
});
