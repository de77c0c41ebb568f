import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LabUnavailable } from '../namespaces.js';
import { openChannel, type Dom0Channel } from './channel.js';
import { AnswerReader, type Answer } from './frames.js';
import { BOOT_PATIENCE_MS } from './limits.js';
import { xenArguments, type XenImages } from './machine.js';

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
  /** Folder for the console's file. */
  readonly dir: string;
}

/** A real Xen with its dom0, in a machine that QEMU emulates. Whoever boots it closes it. */
export class XenHost {
  private constructor(readonly name: string, /** What hypervisor and dom0 print. */ readonly console: string, private readonly port: number, private readonly qemu: ChildProcess, private readonly ended: Promise<unknown>) {}

  /** Ready when dom0 runs programs. LabUnavailable where QEMU or the built host is missing; Error with the console's end when it does not come up. */
  static async boot(options: XenHostOptions, images: XenImages = xenImages()): Promise<XenHost> {
    const console = join(options.dir, `${options.name}.console`);
    const port = await freePort();
    const qemu = spawn(QEMU, xenArguments(images, { name: options.name, port, console }), { stdio: ['ignore', 'ignore', 'pipe'] });
    let complaint = '';
    qemu.stderr.on('data', (piece: Buffer) => { complaint = (complaint + piece.toString()).slice(-4_096); });
    const ended = new Promise<Error>((resolve) => {
      qemu.once('error', (error: NodeJS.ErrnoException) => { resolve(error.code === 'ENOENT' ? new LabUnavailable(`the program ${QEMU} is missing: npm run setup installs what the lab needs`, { cause: error }) : error); });
      qemu.once('close', (code, signal) => { resolve(new Error(`QEMU of the Xen host ${options.name} ended with ${code ?? signal}: ${complaint.trim()}`)); });
    });
    const host = new XenHost(options.name, console, port, qemu, ended);
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

  /** Runs a program in dom0 with `input` as its standard input; Error when dom0 is gone before it has ended. */
  async exec(words: readonly string[], input: Buffer | string = ''): Promise<Answer> {
    const reader = new AnswerReader();
    const socket = connect({ host: '127.0.0.1', port: this.port });
    return new Promise<Answer>((resolve, reject) => {
      socket.on('data', (piece: Buffer) => { try { reader.push(piece); } catch (error) { socket.destroy(error as Error); } });
      socket.once('error', reject);
      socket.once('close', () => {
        const answer = reader.answer();
        if (answer) resolve(answer);
        else reject(new Error(`dom0 of ${this.name} went away while it ran \`${words.join(' ')}\`: see ${this.console}`));
      });
      socket.write(`${JSON.stringify({ words })}\n`);
      socket.end(input);
    });
  }

  /** Output of a program in dom0; Error with what it said when its exit code is not 0. */
  async output(words: readonly string[], input: Buffer | string = ''): Promise<string> {
    const { code, out, err } = await this.exec(words, input);
    if (code !== 0) throw new Error(`\`${words.join(' ')}\` in dom0 of ${this.name} ended with ${code}: ${err.trim() || out.toString('utf8').trim()}`);
    return out.toString('utf8');
  }

  /** Starts a program in dom0 that is talked to while it runs. */
  open(words: readonly string[]): Dom0Channel { return openChannel(this.port, words); }

  /** Copies a file of ours to `path` in dom0. `mode` is octal, as chmod has it. */
  async put(file: string, path: string, mode = '0644'): Promise<void> {
    await this.output(['sh', '-ec', 'cat > "$1.part"; chmod "$2" "$1.part"; mv "$1.part" "$1"', 'put', path, mode], await readFile(file));
  }

  /** The console's last lines. */
  tail(lines = 20): string {
    return existsSync(this.console) ? readFileSync(this.console, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : '';
  }

  /** Power off: what is in its memory and on its disk is gone. */
  async close(): Promise<void> {
    this.qemu.kill('SIGKILL');
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
