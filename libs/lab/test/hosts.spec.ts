import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab, LabUnavailable } from '@virtcft/lab';
import { FrameWatch } from '../src/frame-watch.js';

const mounts = (): string => readFileSync('/proc/self/mountinfo', 'utf8');
/** Network namespaces that any process is in. */
const networks = (): Set<string> => new Set(readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
  try {
    return [readlinkSync(`/proc/${pid}/ns/net`)];
  } catch (error) {
    // Ended meanwhile, or of a machine that we are a container on.
    if (['ENOENT', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}));

describe('lab hosts', () => {
  let lab: Lab;
  beforeEach(async () => { lab = await Lab.open(); });
  afterEach(async () => { await lab.close(); });

  it('reach each other and the site over the management network', async () => {
    const [a, b] = [await lab.startHost('alpha'), await lab.startHost('beta')];
    expect(a.address).not.toBe(b.address);
    await expect(lab.exec('alpha', ['ping', '-c1', '-W2', b.address])).resolves.toContain('1 received');
    await expect(lab.exec(null, ['ping', '-c1', '-W2', a.address])).resolves.toContain('1 received');
    await lab.setCable('beta', 'management', false);
    await expect(lab.exec('alpha', ['ping', '-c1', '-W1', b.address])).rejects.toThrow('ping');
    await lab.setCable('beta', 'management', true);
    await expect(lab.exec('alpha', ['ping', '-c1', '-W2', b.address])).resolves.toContain('1 received');
  });

  it('see only their own processes, run folder and shared memory', async () => {
    await lab.startHost('alpha');
    await lab.startHost('beta');
    await lab.exec('alpha', ['sh', '-c', 'echo secret > /run/virtcft/x; echo secret > /dev/shm/x']);
    expect((await lab.exec('beta', ['sh', '-c', 'ls /run/virtcft /dev/shm'])).includes('x\n')).toBe(false);
    expect(existsSync('/run/virtcft/x')).toBe(false);
    expect((await lab.exec('alpha', ['sh', '-c', 'ls -d /proc/[0-9]*'])).trim().split('\n').length).toBeLessThan(6);
  });

  it('die whole, and come back empty under the same address', async () => {
    const first = await lab.startHost('alpha');
    const program = lab.start('alpha', { name: 'sleeper', command: ['sh', '-c', 'trap "" TERM; sleep 1000 & wait; sleep 1000'] });
    await lab.exec('alpha', ['sh', '-c', 'echo kept > /run/virtcft/x']);
    const pid = program.pid;
    expect(pid).not.toBeNull();
    await lab.killHost('alpha');
    await program.ended;
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    expect(() => lab.host('alpha')).toThrow('no host "alpha"');
    const second = await lab.startHost('alpha');
    expect(second).toMatchObject({ address: first.address, life: 2 });
    expect(await lab.exec('alpha', ['ls', '/run/virtcft'])).toBe('');
    await expect(lab.exec(null, ['ping', '-c1', '-W2', second.address])).resolves.toContain('1 received');
  });

  it('stand still whole, and wake', async () => {
    await lab.startHost('alpha');
    const counter = lab.start('alpha', { name: 'counter', command: ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done'] });
    const reached = (): number => Number(counter.tail(1));
    while (!(reached() > 3)) await sleep(20);
    lab.freezeHost('alpha');
    const still = reached();
    await sleep(300);
    expect(reached()).toBe(still);
    lab.thawHost('alpha');
    while (!(reached() > still + 3)) await sleep(20);
    lab.freezeHost('alpha');
    expect(await counter.stop(100)).toMatchObject({ code: null });
    const other = lab.start('alpha', { name: 'other', command: ['sleep', '1000'] });
    lab.freezeHost('alpha');
    await lab.killHost('alpha');
    await other.ended;
  });

  it('what a host says on the outside network is heard at the other end of its cable', async () => {
    await lab.startHost('alpha');
    const watch = await FrameWatch.open(lab, 'alpha');
    const mac = /link\/ether (\S+)/.exec(await lab.exec('alpha', ['ip', 'link', 'show', 'out0']))?.[1];
    await lab.exec('alpha', ['sh', '-c', 'ip addr add 10.88.0.200/24 dev out0; ping -c1 -W2 10.88.0.1']);
    while (!watch.frames.some((frame) => frame.mac === mac && frame.bytes >= 42)) await sleep(20);
    await watch.close();
  });

  it('a program is stopped by SIGTERM and says how it ended', async () => {
    await lab.startHost('alpha');
    const polite = lab.start('alpha', { name: 'polite', command: [process.execPath, '-e', 'process.on("SIGTERM", () => process.exit(7)); console.log("up"); setInterval(() => {}, 1000)'] });
    while (!polite.tail().includes('up')) await sleep(20);
    expect(await polite.stop()).toEqual({ code: 7, signal: null });
  });

  it('connections from outside the lab go through the portal', async () => {
    const server = lab.start(null, { name: 'echo', command: [process.execPath, '-e', 'require("net").createServer((s) => s.pipe(s)).listen(7777, "10.77.0.1", () => console.log("up"))'] });
    while (!server.tail().includes('up')) await sleep(20);
    const port = await lab.site.forward('10.77.0.1', 7777);
    const { connect } = await import('node:net');
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(port, '127.0.0.1').on('error', reject).on('data', (data) => { resolve(data.toString()); socket.destroy(); });
      socket.write('hello');
    });
    expect(answer).toBe('hello');
  });
});

it('closing a lab leaves no process, namespace or mount', async () => {
  const before = { mounts: mounts(), networks: networks() };
  const lab = await Lab.open();
  const dir = lab.dir;
  const pids = [lab.site.machine.initPid, (await lab.startHost('alpha')).machine.initPid, (await lab.startHost('beta')).machine.initPid];
  lab.start('beta', { name: 'sleeper', command: ['sleep', '1000'] });
  await lab.close();
  expect(pids.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([]);
  expect(mounts()).toBe(before.mounts);
  expect([...networks()].filter((network) => !before.networks.has(network))).toEqual([]);
  expect(existsSync(dir)).toBe(false);
});

it('says what is missing when namespaces are refused', async () => {
  const path = process.env['PATH'];
  process.env['PATH'] = '/nowhere';
  try {
    await expect(Lab.open()).rejects.toThrow(LabUnavailable);
  } finally {
    process.env['PATH'] = path;
  }
});
