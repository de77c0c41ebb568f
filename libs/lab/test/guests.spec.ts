import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { BankStatus, GapReport, GUEST_PORTS, GuestSilent, Lab, PatternStatus, Prober, RedisWriter, askGuest, auditBanks, guestAppend, guestImages, readLoad, type Program } from '@virtcft/lab';

// Two guests on one host of a lab, on a plain bridge to the outside network: no VirtCFT between them.
const ADDRESSES = ['10.88.0.11', '10.88.0.12'] as const;

describe('guests under plain QEMU', () => {
  let lab: Lab;
  let guests: Program[] = [];

  const boot = (index: 0 | 1): Program => {
    const images = guestImages();
    const role = index === 0 ? 'redis' : 'bank';
    return lab.start('alpha', { name: `guest${index}`, command: [
      'qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'q35', '-cpu', 'max', '-m', '128', '-serial', 'stdio',
      '-kernel', images.kernel, '-initrd', images.initrd[role],
      '-append', guestAppend({ address: ADDRESSES[index], peers: ADDRESSES, role, load: { ...readLoad('light').guest, probe: 100 } }),
      '-netdev', `tap,id=n0,ifname=t${index},script=no,downscript=no`, '-device', `virtio-net-pci,netdev=n0,romfile=,mac=52:54:00:00:00:0${index + 1}`,
    ] });
  };
  const dial = (address: string, port: number): (() => Socket) => () => lab.site.connect(address, port);
  const bank = (address: string, command = 'status'): Promise<BankStatus> => askGuest(dial(address, GUEST_PORTS.bankControl), command, BankStatus);

  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startHost('alpha');
    await lab.exec('alpha', ['sh', '-ec', `ip link add name wire type bridge forward_delay 0; ip link set wire up; ip link set out0 master wire
      mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
      for t in t0 t1; do ip tuntap add $t mode tap; ip link set $t master wire up; done`]);
    guests = [boot(0), boot(1)];
    await until(async () => (await bank(ADDRESSES[0])).connected === 1 && (await bank(ADDRESSES[1])).connected === 1);
  }, 120_000);

  afterAll(async () => { await lab.close(); });

  it('money moves between the banks and its total is conserved', async () => {
    const before = await bank(ADDRESSES[0]);
    await until(async () => (await bank(ADDRESSES[0])).moves > before.moves + 20);
    const audit = await auditBanks(ADDRESSES, bank);
    expect(audit).toMatchObject({ settled: true, total: 128_000, expected: 128_000, errors: 0, reconnects: 0, complaints: [] });
    expect(audit.moves).toBeGreaterThan(20);
  });

  it('the table of pages is rewritten and verified', async () => {
    const ask = (): Promise<PatternStatus> => askGuest(dial(ADDRESSES[1], GUEST_PORTS.patternControl), 'status', PatternStatus);
    await until(async () => (await ask()).rounds >= 2);
    const status = await ask();
    expect(status).toMatchObject({ pages: 1024, errors: 0, error: '' });
    expect(status.written).toBeGreaterThan(500);
  });

  it('the probe of gaps answers', async () => {
    const gap = await askGuest(dial(ADDRESSES[1], GUEST_PORTS.patternControl), 'gap', GapReport);
    expect(gap.samples).toBeGreaterThan(10);
    expect(gap.longest_us).toBeGreaterThan(0);
  });

  it('Redis keeps what it acknowledged, and the writer finds what it lost', async () => {
    const target = { host: '127.0.0.1', port: await lab.site.forward(ADDRESSES[0], GUEST_PORTS.redis) };
    const writer = new RedisWriter(target, { ...readLoad('light').client, keys: 10, requests_per_s: 200 });
    const prober = new Prober(target);
    writer.start();
    prober.start();
    while (writer.status().acked < 40 || prober.status().answers < 3) await sleep(50);
    expect(await writer.check()).toMatchObject({ keys: 10, lost: 0, unknown: 0, complaints: [] });
    expect(prober.status().first_answer_ms).toBeGreaterThan(0);
    await writer.stop();
    prober.stop();
    const socket = dial(ADDRESSES[0], GUEST_PORTS.redis)();
    await new Promise((resolve, reject) => { socket.once('error', reject).once('data', resolve).write('DEL key-3\r\nSET key-4 999999:\r\n'); });
    socket.destroy();
    const check = await writer.check();
    expect(check).toMatchObject({ lost: 1, unknown: 1 });
    expect(check.complaints).toContainEqual(expect.stringMatching(/^key-3: acknowledged \d+, found 0$/));
  });

  it('an unknown command is refused', async () => {
    await expect(askGuest(dial(ADDRESSES[0], GUEST_PORTS.bankControl), 'steal', BankStatus)).rejects.toThrow();
  });

  async function until(done: () => Promise<boolean>): Promise<void> {
    for (;;) {
      try {
        if (await done()) return;
      } catch (error) {
        if (!(error instanceof GuestSilent)) throw error; // still booting
      }
      const dead = guests.find((guest) => !guest.running);
      if (dead) throw new Error(`${dead.name} ended:\n${dead.tail()}`);
      await sleep(200);
    }
  }
});
