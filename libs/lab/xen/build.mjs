// Builds a Xen host for the lab from distribution packages: .cache/xen/<hash of this folder>/{xen,vmlinuz,initrd.cpio,dom0.img,packages.txt},
// and points .cache/xen/current at it. Nothing of it is installed here. usage: node libs/lab/xen/build.mjs
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { writeCpio } from '../../../guests/cpio.mjs';
import { dependencies, unpack } from '../../../guests/packages.mjs';
import { releaseHere } from './release.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const cache = join(here, '..', '..', '..', '.cache', 'xen');
const PACKAGES = ['xenstore-utils', 'kmod', 'iproute2', 'procps', 'python3', 'busybox-static'];
// Of dom0's kernel: what mounts its disk, and what Xen's tools and guests need.
const DISK = ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4'];
const DOM0 = [...DISK, 'virtio_net', 'xen-privcmd', 'xen-evtchn', 'xen-gntdev', 'xen-gntalloc', 'xenfs', 'xen-netback', 'xen-blkback', 'bridge', 'loop', 'sch_ingress', 'cls_matchall', 'act_mirred'];
const DISK_MIB = 1024;

/** Hash of everything that a Xen host is made of in this repository, and of the release that its packages are of. */
export function xenHash() {
  const hash = createHash('sha256').update(`${releaseHere().suite}\0`);
  for (const file of readdirSync(here).sort()) hash.update(`${file}\0`).update(readFileSync(join(here, file))).update('\0');
  return hash.digest('hex').slice(0, 16);
}

export function xenIsBuilt() {
  return existsSync(join(cache, xenHash(), 'packages.txt'));
}

const run = (command, args, options = {}) => execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 26, ...options });

/** dom0's own tree, installed by its packages' own scripts in a root of its own. */
function installRoot(work, root, { suite, sources, xen }) {
  const paths = ['man', 'locale', 'doc'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);
  run('mmdebstrap', ['--variant=minbase', '--mode=root', '--aptopt=APT::Install-Recommends "false"', ...paths, `--include=${[`xen-utils-${xen}`, ...PACKAGES].join(',')}`, suite, join(work, 'root.tar'), ...sources]);
  mkdirSync(root);
  run('tar', ['-C', root, '-xf', join(work, 'root.tar')]);
  return run('dpkg-query', [`--admindir=${join(root, 'var/lib/dpkg')}`, '-W', '-f', '${Package}_${Version}\n']).trim().split('\n');
}

/** Files of modules with what they need, each after it. */
function closure(root, version, modules) {
  const lines = modules.flatMap((name) => run('chroot', [root, 'modprobe', '-S', version, '--show-depends', name]).split('\n'));
  return [...new Set(lines.flatMap((line) => /^insmod (\S+)/.exec(line)?.[1] ?? []))];
}

const modulesOf = (boot) => ['lib/modules', 'usr/lib/modules'].map((path) => join(boot, path)).find(existsSync);
const plainName = (file) => file.replace(/\.xz$/, '');

/** Unpacked, as what loads them in the initrd wants them. */
function copyModule(from, to) {
  if (from.endsWith('.xz')) writeFileSync(plainName(to), execFileSync('xz', ['-dc', from], { maxBuffer: 1 << 26 }));
  else copyFileSync(from, to);
}

/** Puts the kernel's modules that dom0 uses into its tree; the others would be most of the image. */
function installModules(root, boot, version) {
  const all = join(modulesOf(boot), version);
  const place = join(root, 'lib/modules', version);
  mkdirSync(dirname(place), { recursive: true });
  run('cp', ['-a', all, place]);
  run('chroot', [root, 'depmod', version]);
  const wanted = closure(root, version, DOM0);
  const disk = closure(root, version, DISK);
  rmSync(join(place, 'kernel'), { recursive: true });
  for (const file of wanted) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    copyModule(join(all, file.slice(`/lib/modules/${version}/`.length)), join(root, file));
  }
  run('chroot', [root, 'depmod', version]);
  return disk.map(plainName);
}

function writeInitrd(path, root, disk) {
  const busybox = ['bin/busybox', 'usr/bin/busybox'].map((name) => join(root, name)).find(existsSync);
  writeCpio(path, {
    init: { from: join(here, 'initrd-init'), executable: true }, 'bin/busybox': { from: busybox, executable: true }, 'bin/sh': { link: 'busybox' },
    'modules.list': { text: disk.map((file) => `${basename(file)}\n`).join('') }, ...Object.fromEntries(disk.map((file) => [`modules/${basename(file)}`, { from: join(root, file) }])),
    proc: { directory: true }, sys: { directory: true }, dev: { directory: true }, root: { directory: true },
  });
}

function make(work, made) {
  const [root, boot] = [join(work, 'root'), join(work, 'boot')];
  const release = releaseHere();
  const packages = installRoot(work, root, release);
  // Of these only files are wanted: their scripts would write a boot loader's configuration.
  const unpacked = [...unpack([`xen-hypervisor-${release.xen}-amd64`], work, boot), ...unpack(dependencies('linux-image-amd64', /^linux-image-\d/).slice(0, 1), work, boot)];
  const [version] = readdirSync(modulesOf(boot));
  const disk = installModules(root, boot, version);
  copyFileSync(join(boot, 'boot', `vmlinuz-${version}`), join(made, 'vmlinuz'));
  // QEMU loads the hypervisor as multiboot, which it does not unpack.
  writeFileSync(join(made, 'xen'), gunzipSync(readFileSync(join(boot, `boot/xen-${release.xen}-amd64.gz`))));
  writeInitrd(join(made, 'initrd.cpio'), root, disk);
  run('install', ['-m755', join(here, 'dom0-init'), join(root, 'sbin/dom0-init')]);
  run('install', ['-m755', join(here, 'cable'), join(root, 'etc/xen/scripts/cable')]);
  run('install', ['-D', join(here, 'agent.py'), join(root, 'usr/local/sbin/agent.py')]);
  run('truncate', ['-s', `${DISK_MIB}M`, join(made, 'dom0.img')]);
  run('/sbin/mke2fs', ['-q', '-t', 'ext4', '-d', root, join(made, 'dom0.img')]);
  writeFileSync(join(made, 'packages.txt'), [...unpacked, ...packages].join('\n') + '\n');
}

export function buildXen() {
  mkdirSync(cache, { recursive: true });
  const out = join(cache, xenHash());
  if (!xenIsBuilt()) {
    const work = mkdtempSync(join(cache, 'work-'));
    try {
      const made = join(work, 'out');
      mkdirSync(made);
      make(work, made);
      rmSync(out, { recursive: true, force: true });
      renameSync(made, out);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  const pointer = join(cache, `current-${process.pid}`);
  symlinkSync(xenHash(), pointer);
  renameSync(pointer, join(cache, 'current'));
  return out;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) console.log(buildXen());
