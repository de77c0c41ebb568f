import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { limits } from './limits.js';
import { DrillRefused } from './refused.js';

/**
 * The drill's own machine: network, mount, PID and IPC namespaces. Its only interface is lo until the inside makes one, its /dev/shm is empty memory for
 * the guests, and its PID 1 is the program. When that ends, however it ends, the kernel kills all that runs inside and drops mounts and interfaces.
 */
const PREPARE = `exec 2>&3 3>&-
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=700,size=100% drill /dev/shm
ip link set lo up
exec "$0" "$@"`;

export class Isolation {
  /** What `unshare` itself had to say, apart from the inside's messages: it complains whenever its child is killed. */
  complaint = '';

  private constructor(private readonly holder: ChildProcess, private readonly ended: Promise<void>) {
    holder.stderr?.setEncoding('utf8').on('data', (text: string) => { this.complaint = (this.complaint + text).slice(-limits.tail_bytes); });
  }

  /** Runs a program as the PID 1 of new namespaces. Throws DrillRefused where this machine or user cannot. */
  static async start(words: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<Isolation> {
    // A process group of its own: Ctrl-C at the terminal is the outer program's to answer.
    const holder = spawn('unshare', ['--mount', '--pid', '--net', '--ipc', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', PREPARE, ...words], { stdio: ['pipe', 'pipe', 'pipe', 2], detached: true, env: { ...env } });
    const ended = new Promise<void>((resolve) => { holder.once('close', () => { resolve(); }); });
    // It may have ended when something is told to it: `ended` says so.
    holder.stdin?.on('error', () => undefined);
    await new Promise<void>((resolve, reject) => {
      holder.once('spawn', resolve);
      holder.once('error', (error) => { reject(new DrillRefused(`cannot run unshare (${error.message})`, 'install util-linux and iproute2', { cause: error })); });
    });
    return new Isolation(holder, ended);
  }

  get input(): Writable { return this.holder.stdin as Writable; }
  get output(): Readable { return this.holder.stdout as Readable; }

  /** Of its PID 1, as seen from here; null when it has ended. */
  get pid(): number | null {
    try {
      const first = readFileSync(`/proc/${this.holder.pid ?? 0}/task/${this.holder.pid ?? 0}/children`, 'utf8').split(' ')[0];
      return first === undefined || first === '' ? null : Number(first);
    } catch {
      return null;
    }
  }

  /** As a power cut; returns when every process inside is gone, and with them namespaces, interfaces and memory. */
  async end(): Promise<void> {
    const { pid } = this;
    if (pid !== null) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    } else this.holder.kill('SIGKILL');
    this.input.end();
    await this.ended;
  }
}
