import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeCpio } from '../../../guests/cpio.mjs';
import type { VmSpec } from '../src/index.js';

/** What the test guest does of itself once it has counted to `at`. */
export type Deed = 'nothing' | 'poweroff' | 'reboot' | 'panic' | 'clock';

const INIT = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
ip link set lo up
deed=nothing at=0
read -r line < /proc/cmdline
for word in $line; do
  case $word in test.deed=*) deed=\${word#*=} ;; test.at=*) at=\${word#*=} ;; esac
done
[ $deed != clock ] || exec clock
pattern 7002 2048 4000 4000 50 1 0 0 &
[ ! -e /dev/vda ] || blocks /dev/vda &
echo "guest ready"
n=0
while :; do
  n=$((n+1))
  echo "tick $n"
  if [ "$n" = "$at" ]; then
    case $deed in
      poweroff) busybox poweroff -f ;;
      reboot) busybox reboot -f ;;
      panic) panic ;;
    esac
  fi
  [ $((n % 10)) != 0 ] || echo status | busybox nc 127.0.0.1 7002
  busybox usleep 100000
done
`;

/** A real distribution kernel with a small guest that counts aloud and rewrites and checks a table of pages. */
export class TestGuest {
  readonly #directory = mkdtempSync('/tmp/virtcft-guest-');
  readonly #kernel: string;
  readonly #initrd: string;

  constructor() {
    const built = fileURLToPath(new URL('../../../.cache/guests/current/', import.meta.url));
    if (!existsSync(join(built, 'vmlinuz'))) throw new Error(`no guests in ${built}: run npm run setup`);
    this.#kernel = join(built, 'vmlinuz');
    this.#initrd = join(this.#directory, 'guest.cpio');
    const overlay = join(this.#directory, 'overlay.cpio');
    const init = join(this.#directory, 'init');
    writeFileSync(init, INIT);
    const programs = ['panic', 'blocks', 'clock'].map((name) => {
      const program = join(this.#directory, name);
      execFileSync('gcc', ['-O2', '-static', '-s', '-o', program, fileURLToPath(new URL(`./${name}.c`, import.meta.url))]);
      return [`bin/${name}`, { from: program, executable: true }] as const;
    });
    writeCpio(overlay, { init: { from: init, executable: true }, ...Object.fromEntries(programs) });
    // Archives may follow each other: the later file wins.
    writeFileSync(this.#initrd, Buffer.concat([readFileSync(join(built, 'bank.cpio')), readFileSync(overlay)]));
  }

  spec(name: string, deed: Deed = 'nothing', at = 0): VmSpec {
    const number = [...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 0xffff, 7);
    const mac = (nic: number): string => `52:54:00:0${nic}:${(number >> 8).toString(16).padStart(2, '0')}:${(number & 0xff).toString(16).padStart(2, '0')}`;
    return {
      name, memory_mib: 128, vcpus: 2, clock: 'stop', kernel: this.#kernel, initrd: this.#initrd, nics: [{ mac: mac(0) }, { mac: mac(1) }],
      append: `console=ttyS0 quiet panic=-1 test.deed=${deed} test.at=${at}`,
    };
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export interface HeardClock {
  readonly mono_s: number;
  readonly real_s: number;
  /** The real-time clock's, since 1970. */
  readonly rtc_s: number;
  /** How often monotonic time went back since the guest booted. */
  readonly back: number;
  /** The kernel's clock source. */
  readonly source: string;
}

/** What the guest's clocks said, line by line. */
export function hearClock(console: string): HeardClock[] {
  return [...console.matchAll(/^clock (\d+) (\d+) (-?\d+) (\d+) (\w+)\r?$/gm)].map(([, mono, real, rtc, back, source]) => ({
    mono_s: Number(mono) / 1e6, real_s: Number(real) / 1e6, rtc_s: Number(rtc), back: Number(back), source: source ?? '',
  }));
}

/** What a guest's console says about it. */
export interface Heard {
  readonly boots: number;
  /** Numbers counted, in order. */
  readonly ticks: readonly number[];
  /** Pages found wrong by the guest itself, and how many it has checked. */
  readonly errors: number;
  readonly verified: number;
}

export function hear(console: string): Heard {
  const numbers = (pattern: RegExp): number[] => [...console.matchAll(pattern)].map((match) => Number(match[1]));
  return {
    boots: [...console.matchAll(/guest ready/g)].length,
    ticks: numbers(/^tick (\d+)\r?$/gm),
    errors: Math.max(0, ...numbers(/"errors":(\d+)/g)) + [...console.matchAll(/pattern: page/g)].length,
    verified: Math.max(0, ...numbers(/"verified":(\d+)/g)),
  };
}
