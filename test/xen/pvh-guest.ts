import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LabUnavailable, xenImages, type XenHost } from '@virtcft/lab';
import { writeCpio } from '../../guests/cpio.mjs';
import { buildXenProgram } from '../../native/xen/build.mjs';

export const PROGRAM = '/root/virtcft-xen';
export const KERNEL = '/root/vmlinux';
export const INITRD = '/root/guest.cpio';
export const MEMORY_MIB = 96;
/** Lines that a guest has written and nobody has read at a cut: a restore clears its console's ring. */
export const LINES_ON_THEIR_WAY = 2;
/** Each look is a program in dom0, which goes before the guests on the one emulated processor. */
export const LOOK_EVERY_MS = 1_500;

// Of the kernel's boot protocol (Documentation/arch/x86/boot.rst).
const [SECTOR_BYTES, SETUP_SECTORS, PAYLOAD_OFFSET, PAYLOAD_LENGTH, SIZE_BYTES] = [512, 0x1f1, 0x248, 0x24c, 4];

/** dom0's kernel as an ELF file: xl would unpack it again for each guest, which takes seconds under emulation. */
function unpackedKernel(dir: string): string {
  const image = readFileSync(xenImages().kernel);
  const from = (image.readUInt8(SETUP_SECTORS) + 1) * SECTOR_BYTES + image.readUInt32LE(PAYLOAD_OFFSET);
  const packed = image.subarray(from, from + image.readUInt32LE(PAYLOAD_LENGTH) - SIZE_BYTES);
  const file = join(dir, 'vmlinux');
  writeFileSync(file, execFileSync('xz', ['-dc'], { input: packed, maxBuffer: 1 << 28 }));
  return file;
}

/** Puts program, kernel and initramfs of the test's guests into dom0. */
export async function equip(host: XenHost, dir: string): Promise<void> {
  if (!existsSync('/usr/include/xenctrl.h')) throw new LabUnavailable('Xen\'s headers are missing: apt-get install libxen-dev');
  await host.put(buildXenProgram(), PROGRAM, '0755');
  const init = join(dir, 'init');
  execFileSync('gcc', ['-O2', '-static', '-s', '-Wall', '-Wextra', '-Werror', '-o', init, join(import.meta.dirname, 'guest.c')]);
  writeCpio(join(dir, 'guest.cpio'), { init: { from: init, executable: true }, dev: { directory: true } });
  await host.put(join(dir, 'guest.cpio'), INITRD);
  await host.put(unpackedKernel(dir), KERNEL);
  // One emulated processor for all: a guest that is busy must not keep dom0 from its work.
  await host.output(['xl', 'sched-credit2', '-d', 'Domain-0', '-w', '8192']);
}

/** Boots a guest; it runs when this returns. */
export async function boot(host: XenHost, name: string, options = ''): Promise<void> {
  const lines = [`name="${name}"`, 'type="pvh"', `kernel="${KERNEL}"`, `ramdisk="${INITRD}"`, `extra="console=hvc0 quiet mitigations=off panic=-1 ${options}"`,
    `memory=${MEMORY_MIB}`, 'vcpus=1', 'on_poweroff="preserve"', 'on_reboot="preserve"', 'on_crash="preserve"'];
  await host.output(['sh', '-ec', 'cat > "$1"; xl create -e -q "$1"', 'create', `/root/${name}.cfg`], `${lines.join('\n')}\n`);
  await untilTick(host, name, 5);
}

export interface Heard { readonly boots: number; readonly ticks: readonly number[]; readonly verified: number; readonly errors: number }

/** What a guest of this name has printed on this host, through all its domains. */
export async function hear(host: XenHost, name: string): Promise<Heard> {
  const { out } = await host.exec(['cat', `/var/log/xen/guest-${name}.log`]);
  const text = out.toString('latin1');
  const numbers = (pattern: RegExp): number[] => [...text.matchAll(pattern)].map((match) => Number(match[1]));
  return {
    boots: numbers(/^(guest ready)/gm).length, ticks: numbers(/^tick (\d+)\r?$/gm), verified: Math.max(0, ...numbers(/"verified":(\d+)/g)), errors: Math.max(0, ...numbers(/"errors":(\d+)/g)),
  };
}

export async function untilTick(host: XenHost, name: string, tick: number, patience_ms = 300_000): Promise<Heard> {
  for (const end_ms = performance.now() + patience_ms; ;) {
    const heard = await hear(host, name);
    if ((heard.ticks.at(-1) ?? 0) >= tick) return heard;
    if (performance.now() > end_ms) throw new Error(`guest ${name} has not come to tick ${tick}: ${JSON.stringify({ ...heard, ticks: heard.ticks.slice(-3) })}`);
    await sleep(LOOK_EVERY_MS);
  }
}
