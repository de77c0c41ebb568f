import { checkSpec, commandLine, shapeOf } from '../src/drivers/qemu/command-line.js';
import { newestMachine, virtualisingCpu } from '../src/drivers/qemu/probe.js';
import { vmDirectoryOf } from '../src/drivers/qemu/sweep.js';
import type { VmSpec } from '../src/index.js';

const mac = '52:54:00:00:00:01';
const spec: VmSpec = { name: 'web-1', memory_mib: 128, vcpus: 1, kernel: '/k', initrd: null, append: 'quiet', nics: [{ mac }], clock: 'stop' };
const nics = [{ mac, guest: '/run/v/g', fabric: '/run/v/f' }];
const model = { machine: 'pc-q35-7.2', accel: 'tcg', cpu: 'max' } as const;

describe('the command line', () => {
  test('differs between saving and loading in `-incoming` alone', () => {
    const booting = commandLine({ model, spec, nics, ramPath: '/run/v/web-1/ram', incoming: false });
    const loading = commandLine({ model, spec, nics, ramPath: '/run/v/web-1/ram', incoming: true });
    expect(loading).toEqual([...booting, '-incoming', 'defer']);
  });

  test('lets the real-time clock stand with the guest, or say what the host\'s says (R25)', () => {
    const rtc = (clock: VmSpec['clock']): string | undefined => {
      const args = commandLine({ model, spec: { ...spec, clock }, nics, ramPath: '/r', incoming: false });
      return args[args.indexOf('-rtc') + 1];
    };
    expect([rtc('stop'), rtc('follow')]).toEqual(['base=utc,clock=vm', 'base=utc,clock=host']);
  });

  test('keeps a comma in a path from becoming an option', () => {
    const args = commandLine({ model, spec, nics, ramPath: '/run/a,share=off/ram', incoming: false });
    expect(args).toContain('memory-backend-file,id=ram,size=128M,mem-path=/run/a,,share=off/ram,share=on,dump=off');
  });

  test.each<[string, Partial<VmSpec>, RegExp]>([
    ['name', { name: '../etc' }, /name/], ['memory', { memory_mib: 1.5 }, /memory_mib/], ['vcpus', { vcpus: 0 }, /vcpus/],
    ['kernel', { kernel: 'vmlinuz' }, /absolute/], ['append', { append: 'x'.repeat(3000) }, /append/], ['nics', { nics: [] }, /0 NICs described/],
    ['mac', { nics: [{ mac: '52:54:00:00:00:02' }] }, /attached as/],
  ])('refuses a bad %s by name', (_field, change, message) => {
    expect(() => checkSpec({ ...spec, ...change }, nics)).toThrow(message);
  });

  test('refuses what a socket address cannot hold', () => {
    expect(() => checkSpec(spec, [{ ...nics[0]!, guest: `/${'g'.repeat(120)}` }])).toThrow(/longer than 107/);
    expect(() => checkSpec(spec, nics)).not.toThrow();
  });

  test('shapes are equal exactly when the device trees are', () => {
    expect(shapeOf({ ...spec, name: 'other', append: 'x', kernel: '/k2' })).toBe(shapeOf(spec));
    for (const change of [{ memory_mib: 256 }, { vcpus: 2 }, { nics: [] }]) expect(shapeOf({ ...spec, ...change })).not.toBe(shapeOf(spec));
  });
});

describe('what a host offers', () => {
  test('the newest versioned machine wins, by number', () => {
    expect(newestMachine(['q35', 'pc-q35-2.9', 'pc-q35-10.0', 'pc-q35-9.2', 'pc-i440fx-10.1'])).toBe('pc-q35-10.0');
    expect(newestMachine(['pc-q35-4.0', 'pc-q35-4.0.1'])).toBe('pc-q35-4.0.1');
    expect(newestMachine(['q35', 'microvm'])).toBeNull();
  });

  test('a processor without virtualisation is emulated', () => {
    expect(virtualisingCpu('model name\t: Some CPU\nflags\t\t: fpu vmx sse\n')).toBe('Some CPU');
    expect(virtualisingCpu('model name\t: Some CPU\nflags\t\t: fpu sse hypervisor\n')).toBeNull();
  });
});

test('a QEMU is swept by its memory file, not by its name', () => {
  const ours = commandLine({ model, spec, nics, ramPath: '/run/v/web-1/ram', incoming: false });
  expect(vmDirectoryOf(ours, '/run/v')).toBe('web-1');
  expect(vmDirectoryOf(ours, '/run')).toBeNull();
  expect(vmDirectoryOf(ours, '/run/v2')).toBeNull();
  expect(vmDirectoryOf(['qemu', '-name', 'guest=probe of /run/v'], '/run/v')).toBe('.probe');
  expect(vmDirectoryOf(['qemu', '-name', 'guest=probe of /run/v2'], '/run/v')).toBeNull();
  expect(vmDirectoryOf(['vi', '/run/v/web-1/ram'], '/run/v')).toBeNull();
});
