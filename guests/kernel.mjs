// The distribution's kernel for virtual machines, with the drivers that a guest needs, in loading order.
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { dependencies, firstAvailable, unpack } from './packages.mjs';
import { plainKernel } from './plain-kernel.mjs';

const MODULES = ['drivers/virtio/virtio', 'drivers/virtio/virtio_ring', 'drivers/virtio/virtio_pci_legacy_dev', 'drivers/virtio/virtio_pci_modern_dev',
  'drivers/virtio/virtio_pci', 'drivers/virtio/virtio_mmio', 'net/core/failover', 'drivers/net/net_failover', 'drivers/net/virtio_net', 'drivers/block/virtio_blk',
  'drivers/misc/pvpanic/pvpanic', 'drivers/misc/pvpanic/pvpanic-mmio'];
// virtio_ring must come before virtio: the first of each pair needs the second's symbols.
const ORDER = ['virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci', 'virtio_mmio', 'failover', 'net_failover', 'virtio_net', 'virtio_blk',
  'pvpanic', 'pvpanic-mmio'];

// Under Xen instead of virtio's; built in with some distributions.
const XEN = ['drivers/net/xen-netfront', 'drivers/block/xen-blkfront'];
// For a guest with a file system; built in with some distributions. In loading order.
const FILESYSTEM = ['lib/crc16', 'crypto/crc32c_generic', 'lib/libcrc32c', 'fs/mbcache', 'fs/jbd2/jbd2', 'fs/ext4/ext4'];

/** Puts vmlinuz, and vmlinux as Xen loads it soonest, into `out`; returns { packages, files, filesystem }: initramfs entries of the drivers alone, and with those of ext4. */
export function buildKernel(work, out) {
  const meta = firstAvailable(['linux-image-cloud-amd64', 'linux-image-virtual']);
  const image = dependencies(meta, /^linux-image-\d/)[0];
  if (!image) throw new Error(`apt names no kernel behind ${meta}`);
  const root = join(work, 'kernel');
  // Ubuntu keeps the modules in a package of their own.
  const packages = unpack([image, ...dependencies(image, /^linux-modules-\d/)], work, root);
  const version = readdirSync(join(root, existsSync(join(root, 'lib/modules')) ? 'lib/modules' : 'usr/lib/modules'))[0];
  const tree = [join(root, 'lib/modules', version), join(root, 'usr/lib/modules', version)].find(existsSync);
  copyFileSync(join(root, 'boot', `vmlinuz-${version}`), join(out, 'vmlinuz'));
  writeFileSync(join(out, 'vmlinux'), plainKernel(readFileSync(join(out, 'vmlinuz'))));
  const builtin = existsSync(join(tree, 'modules.builtin')) ? readFileSync(join(tree, 'modules.builtin'), 'utf8') : '';
  const found = new Map([...MODULES, ...XEN, ...FILESYSTEM].flatMap((path) => {
    const file = ['', '.xz', '.zst'].map((ending) => join(tree, 'kernel', `${path}.ko${ending}`)).find(existsSync);
    if (file) return [[basename(path), plainModule(file, join(work, 'modules'))]];
    // Kernels differ: what is neither there nor built in was split differently (virtio_pci_legacy_dev) or is not needed.
    if (!builtin.includes(`/${basename(path)}.ko`) && /virtio_(pci|net|ring|blk)$|xen-(net|blk)front$|ext4$/.test(path)) throw new Error(`${image} has no module ${path}`);
    return [];
  }));
  const list = (wanted) => ({ text: wanted.filter((name) => found.has(name)).map((name) => `${name}.ko\n`).join('') });
  const entries = (more) => {
    const [emulated, xen] = [[...ORDER, ...more], [...XEN.map((path) => basename(path)), ...more]];
    const modules = Object.fromEntries([...emulated, ...xen].filter((name) => found.has(name)).map((name) => [`modules/${name}.ko`, { from: found.get(name) }]));
    return { ...modules, 'modules/order': list(emulated), 'modules/order-xen': list(xen) };
  };
  return { packages, files: entries([]), filesystem: entries(FILESYSTEM.map((path) => basename(path))) };
}

function plainModule(file, folder) {
  mkdirSync(folder, { recursive: true });
  const plain = join(folder, basename(file).replace(/\.(xz|zst)$/, ''));
  if (file.endsWith('.ko')) copyFileSync(file, plain);
  else execFileSync('sh', ['-c', file.endsWith('.xz') ? 'xz -dc "$1" > "$2"' : 'zstd -qdc "$1" > "$2"', 'sh', file, plain]);
  execFileSync('strip', ['-g', plain]);
  return plain;
}
