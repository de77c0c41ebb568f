import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { createXenDriver } from '@virtcft/hypervisor';
import { XenHost } from '@virtcft/lab';
import { driverContract, type Subject } from '../../libs/hypervisor/test/contract.js';
import { INITRD, KERNEL, LINES_ON_THEIR_WAY, LOOK_EVERY_MS, MEMORY_MIB, PROGRAM, equip } from './pvh-guest.js';

jest.setTimeout(1_800_000);

const dir = mkdtempSync(join(tmpdir(), 'virtcft-xen-'));
let host: XenHost;
/** What guests had printed before the newest driver was opened, by name: all drivers are on one host, whose console files go on. */
let before = new Map<string, number>();

beforeAll(async () => {
  host = await XenHost.boot({ name: 'xen-driver', dir });
  await equip(host, dir);
});
afterAll(async () => {
  await host.close();
  rmSync(dir, { recursive: true, force: true });
});

const subject: Subject = {
  runRoot: dir,
  lacks: ['nics', 'clock', 'lazy fill', 'reboot'],
  crashed: 'is gone',
  patience_ms: 300_000,
  look_every_ms: LOOK_EVERY_MS,
  console_loses: LINES_ON_THEIR_WAY,
  open: async (runDir) => {
    const sizes = await host.output(['sh', '-c', 'cd /var/log/xen && for f in guest-*.log; do [ ! -e "$f" ] || echo "$f $(stat -c %s "$f")"; done']);
    before = new Map([...sizes.matchAll(/^guest-(\S+)\.log (\d+)$/gm)].map(([, name = '', size]) => [name, Number(size)]));
    return createXenDriver({ program: PROGRAM, owner: runDir, transport: { run: (words, input) => host.exec(words, input), open: (words) => host.open(words) }, suspend_ms: 300_000, log: () => undefined });
  },
  spec: (name, deed = 'nothing', at = 0) => ({
    name, memory_mib: MEMORY_MIB, vcpus: 1, clock: 'stop', kernel: KERNEL, initrd: INITRD, nics: [], append: `console=hvc0 quiet mitigations=off panic=-1 test.deed=${deed} test.at=${at}`,
  }),
  console: async (vm) => {
    const { out } = await host.exec(['cat', `/var/log/xen/guest-${vm.spec.name}.log`]);
    return out.subarray(before.get(vm.spec.name) ?? 0).toString('latin1');
  },
  crash: async (vm) => { await host.output(['xl', 'destroy', vm.spec.name]); },
};
driverContract('the Xen driver', subject);
