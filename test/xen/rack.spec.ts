import { setTimeout as sleep } from 'node:timers/promises';
import { BankStatus, FrameWatch, GUEST_PORTS, GuestSilent, Lab, XenRack, askGuest, readLoad, type RackVm, type XenGuest } from '@virtcft/lab';

const BOOTED_MS = 300_000; // emulated twice over, on a machine that may do other work
const vm = (number: number, host: string): RackVm => ({ name: `bank-${number}`, role: 'bank', host, address: `10.88.0.${10 + number}`, mac: `52:54:00:88:00:0${number}`, memory_mib: 96 });
const VMS = [vm(1, 'xen-a'), vm(2, 'xen-b')];
const [FIRST, SECOND] = VMS as [RackVm, RackVm];

describe('PVH guests on two joined Xen hosts', () => {
  let lab: Lab | undefined;
  let rack: XenRack;
  let guests: XenGuest[] = [];
  const bank = ({ address }: RackVm, timeout_ms = 5_000): Promise<BankStatus> => askGuest(() => lab!.site.connect(address, GUEST_PORTS.bankControl), 'status', BankStatus, timeout_ms);
  const until = async <T>(what: string, look: () => Promise<T | null>): Promise<T> => {
    for (const end_ms = performance.now() + BOOTED_MS; performance.now() < end_ms; await sleep(500)) {
      const seen = await look().catch((error: unknown) => { if (error instanceof GuestSilent) return null; throw error; });
      if (seen !== null) return seen;
    }
    throw new Error(`not so after ${BOOTED_MS / 1_000} s: ${what}`);
  };

  beforeAll(async () => {
    lab = await Lab.open();
    rack = await XenRack.build(lab, { hosts: ['xen-a', 'xen-b'], vms: VMS, load: { ...readLoad('light').guest, probe: 0 } });
    guests = await Promise.all(VMS.map((each) => rack.start(each)));
  }, 2 * BOOTED_MS);
  afterAll(async () => { await lab?.close(); });

  it('boot the kernel and the images that QEMU\'s guests boot, with Xen\'s drivers', async () => {
    for (const guest of guests) expect(await guest.says('virtcft guest: ready', BOOTED_MS)).not.toMatch(/insmod|unknown|panic/i);
  });

  it('reach each other over the coloured switches of their hosts, and the outside while the gate is open by decision', async () => {
    await rack.setPassThrough(true);
    const before = await until('both banks have their connection', async () => {
      const all = await Promise.all(VMS.map((each) => bank(each)));
      return all.every(({ connected, peers }) => peers > 0 && connected === peers) ? all : null;
    });
    await until('money moves', async () => ((await bank(FIRST)).received > (before[0]?.received ?? 0) ? true : null));
    expect(await bank(SECOND)).toMatchObject({ errors: 0, reconnects: 0 });
  });

  it('say nothing to the outside before a cut that covers it is committed (I2)', async () => {
    await rack.setPassThrough(false);
    const watch = await FrameWatch.open(lab!, 'xen-a');
    try {
      await expect(bank(FIRST, 3_000)).rejects.toThrow(GuestSilent);
      expect((await rack.host('xen-a').wires.stats()).heldOutputFrames).toBeGreaterThan(0);
      expect(watch.frames.filter(({ mac }) => mac === FIRST.mac)).toEqual([]);
      const asked = bank(FIRST, BOOTED_MS);
      const seen = { answered: false };
      void asked.then(() => { seen.answered = true; }, () => { seen.answered = true; });
      for (let epoch = 1; !seen.answered && epoch < 1_000; epoch += 1) {
        await rack.cut(epoch);
        await rack.commit(epoch);
        await sleep(100);
      }
      expect(await asked).toMatchObject({ daemon: 'bank', address: FIRST.address });
      expect(watch.frames.some(({ mac }) => mac === FIRST.mac)).toBe(true);
    } finally {
      await watch.close();
    }
  });

  it('are gone at once when their host loses its power; the others live on', async () => {
    await rack.kill('xen-a');
    expect(() => rack.host('xen-a')).toThrow(/no Xen host/);
    await rack.setPassThrough(true);
    expect(await until('the other bank answers', () => bank(SECOND))).toMatchObject({ address: SECOND.address });
    await expect(bank(FIRST, 2_000)).rejects.toThrow(GuestSilent);
  });
});
