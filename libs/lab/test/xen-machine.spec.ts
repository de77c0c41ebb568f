import { cableAddress } from '../src/xen/emulator.js';
import { xlFile, type XenGuestSpec } from '../src/xen/guest.js';
import { xenArguments } from '../src/xen/machine.js';

const IMAGES = { hypervisor: '/a/xen', kernel: '/a,b/vmlinuz', initrd: '/a,b/initrd', disk: '/a,b/disk' };

describe('the machine of a Xen host', () => {
  it('a comma in a path does not end what QEMU reads', () => {
    const words = xenArguments(IMAGES, { name: 'a', console: '/c', control: '/a,b/q', network: { port: 4000 } });
    expect(words).toContain('/a,,b/vmlinuz console=hvc0 mitigations=off panic=1,/a,,b/initrd');
    expect(words.find((word) => word.includes('/disk'))).toMatch(/^file=\/a,,b\/disk,/);
    expect(words).toContain('unix:/a,,b/q,server=on,wait=off');
  });

  it('is behind a port on loopback, or on a network with an address of its own', () => {
    const alone = xenArguments(IMAGES, { name: 'a', console: '/c', control: '/q', network: { port: 4000 } }).join(' ');
    expect(alone).toContain('hostfwd=tcp:127.0.0.1:4000-:2222');
    expect(alone).not.toContain('virtcft.dom0');
    const joined = xenArguments(IMAGES, { name: 'a', console: '/c', control: '/q', network: { tap: 'dom0', mac: '52:54:00:77:00:6f', address: '10.77.0.111/24' } }).join(' ');
    expect(joined).toContain('tap,id=agent,ifname=dom0,');
    expect(joined).toContain('panic=1 virtcft.dom0=10.77.0.111/24,');
    expect(joined).not.toContain('hostfwd');
  });
});

describe('a PVH guest in xl\'s file', () => {
  const spec: XenGuestSpec = { name: 'bank-1', memory_mib: 96, kernel: '/k', initrd: '/i', append: 'console=hvc0 say="\\"', nics: [{ mac: '52:54:00:88:00:0b', guest: '/g', fabric: '/f' }] };

  it('has its words as they are, its interface tied to a cable and its disks in order', () => {
    const text = xlFile(spec, { kernel: '/d/vmlinux', initrd: '/d/i', disks: ['vdb', 'vdc'] });
    expect(text).toContain('type = "pvh"\n');
    expect(text).toContain(String.raw`extra = "console=hvc0 say=\"\\\""` + '\n');
    expect(text).toContain('vif = ["mac=52:54:00:88:00:0b,script=cable"]\n');
    expect(text).toContain('disk = ["phy:/dev/vdb,xvda,w", "phy:/dev/vdc,xvdb,w"]\n');
  });

  it('has a cable that is not taken for its own interface', () => {
    expect(cableAddress('52:54:00:88:00:0b')).toBe('fe:54:00:88:00:0b');
  });
});
