import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { childOf, LabUnavailable, type Namespaces } from '../namespaces.js';
import type { Dom0Channel } from './channel.js';
import { Dom0 } from './dom0.js';
import { Emulator } from './emulator.js';
import type { Answer } from './frames.js';
import { BOOT_PATIENCE_MS } from './limits.js';
import { xenArguments, type XenImages, type XenNetwork } from './machine.js';

const root = join(import.meta.dirname, '..', '..', '..', '..');
const QEMU = 'qemu-system-x86_64';

/** The built Xen host; LabUnavailable when there is none. */
export function xenImages(): XenImages {
  const folder = join(root, '.cache', 'xen', 'current');
  if (!existsSync(join(folder, 'packages.txt'))) throw new LabUnavailable('the Xen host is not built: npm run test:xen builds it');
  const real = realpathSync(folder);
  return { hypervisor: join(real, 'xen'), kernel: join(real, 'vmlinuz'), initrd: join(real, 'initrd.cpio'), disk: join(real, 'dom0.img') };
}

export interface XenHostOptions {
  readonly name: string;
  /** Folder for the console's file and QEMU's control socket, whose path must be short. */
  readonly dir: string;
  /** A machine of a lab: QEMU runs in it, and ends with it; dom0 is on its network. Without one dom0 is behind a port on loopback. */
  readonly place?: { readonly machine: Namespaces; readonly network: XenNetwork; readonly connect: () => Socket };
}

/** A real Xen with its dom0, in a machine that QEMU emulates. Whoever boots it closes it. */
export class XenHost {
  private emulator: Promise<Emulator> | null = null;
  private constructor(readonly name: string, /** What hypervisor and dom0 print. */ readonly console: string, readonly dom0: Dom0, /** Path of the machine's control socket, for one at a time. */ readonly control: string, private readonly qemu: ChildProcess, private readonly entered: boolean, private readonly ended: Promise<unknown>) {}

  /** Ready when dom0 runs programs. LabUnavailable where QEMU or the built host is missing; Error with the console's end when it does not come up. */
  static async boot(options: XenHostOptions, images: XenImages = xenImages()): Promise<XenHost> {
    const { name, dir, place } = options;
    const [console, control] = [join(dir, `${name}.console`), join(dir, `${name}.qmp`)];
    const port = place === undefined ? await freePort() : 0;
    const [program = QEMU, ...words] = [...(place?.machine.enter() ?? []), QEMU, ...xenArguments(images, { name, console, control, network: place?.network ?? { port } })];
    const qemu = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'], env: process.env });
    let complaint = '';
    qemu.stderr.on('data', (piece: Buffer) => { complaint = (complaint + piece.toString()).slice(-4_096); });
    const ended = new Promise<Error>((resolve) => {
      qemu.once('error', (error: NodeJS.ErrnoException) => { resolve(error.code === 'ENOENT' ? new LabUnavailable(`the program ${program} is missing: npm run setup installs what the lab needs`, { cause: error }) : error); });
      qemu.once('close', (code, signal) => { resolve(new Error(`QEMU of the Xen host ${name} ended with ${code ?? signal}: ${complaint.trim()}`)); });
    });
    const dom0 = new Dom0(name, place?.connect ?? (() => connect({ host: '127.0.0.1', port })), console);
    const host = new XenHost(name, console, dom0, control, qemu, place !== undefined, ended);
    try {
      await host.ready(ended);
    } catch (error) {
      await host.close();
      throw error;
    }
    return host;
  }

  private async ready(ended: Promise<Error>): Promise<void> {
    const until_ms = performance.now() + BOOT_PATIENCE_MS;
    while (performance.now() < until_ms) {
      const over = await Promise.race([ended, sleep(500, null)]);
      if (over) throw over;
      // User networking takes connections before dom0 listens: only the console tells.
      if (!this.tail(1_000).includes('VIRTCFT-DOM0 READY')) continue;
      const answer = await this.exec(['true']).catch(() => null);
      if (answer?.code === 0) return;
    }
    throw new Error(`the Xen host ${this.name} was not ready after ${BOOT_PATIENCE_MS / 1_000} s. Its console ends with:\n${this.tail(20)}`);
  }

  exec(words: readonly string[], input: Buffer | string = ''): Promise<Answer> { return this.dom0.exec(words, input); }
  output(words: readonly string[], input: Buffer | string = ''): Promise<string> { return this.dom0.output(words, input); }
  put(file: string, path: string, mode = '0644'): Promise<void> { return this.dom0.put(file, path, mode); }

  /** Starts a program in dom0 that is talked to while it runs. */
  open(words: readonly string[]): Dom0Channel { return this.dom0.open(words); }

  /** The machine around it, into which guests' cables and disks are plugged. */
  machine(): Promise<Emulator> { return this.emulator ??= Emulator.open(this.control, this.name); }

  /** The console's last lines. */
  tail(lines = 20): string {
    return existsSync(this.console) ? readFileSync(this.console, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : '';
  }

  /** Power off: what is in its memory and on its disk is gone. */
  async close(): Promise<void> {
    if (this.emulator !== null) (await this.emulator.catch(() => null))?.close();
    const { pid } = this.qemu;
    // What brought QEMU into a machine of the lab is its parent there, and ends after it.
    const inside = this.entered && pid !== undefined && this.qemu.exitCode === null && this.qemu.signalCode === null ? childOf(pid) : null;
    if (inside === null) this.qemu.kill('SIGKILL');
    else process.kill(inside, 'SIGKILL');
    await this.ended;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => { server.once('error', reject).listen(0, '127.0.0.1', resolve); });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}
