import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import type { Duplex, Readable } from 'node:stream';
import { HypervisorError } from '../../errors.js';
import { CAPTURE_COMMANDS, CommandAtHand, type CaptureCommands } from './command-at-hand.js';
import { CAPTURE_CONNECTIONS, FD } from './command-line.js';
import { LIMITS } from './limits.js';
import { QmpClient } from './qmp-client.js';

/** A running QEMU with the streams that it inherited. */
export class QemuProcess {
  readonly pid: number;
  readonly qmp: QmpClient;
  readonly console: Duplex;
  /** For a process started with `-incoming defer`. */
  readonly incoming: Duplex;
  /** Resolves when the process has ended, with a sentence that says how, and what it said last. */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  readonly #atHand: readonly QmpClient[];
  readonly captures: CaptureCommands;
  #version = '';
  #stderr = '';
  #over = false;

  private constructor(child: ChildProcess, pid: number, name: string) {
    this.#child = child;
    this.pid = pid;
    // Every 'pipe' beyond the third is a connected socket pair.
    const streams = child.stdio as unknown as Readonly<Record<number, Duplex>> & { readonly 2: Readable };
    const { [FD.qmp]: qmp, [FD.console]: console, [FD.incoming]: incoming, 2: stderr } = streams;
    if (qmp === undefined || console === undefined || incoming === undefined) throw new Error('QEMU was started without its streams');
    this.console = console;
    this.incoming = incoming;
    this.qmp = new QmpClient(qmp, name);
    const atHand = CAPTURE_CONNECTIONS.map((connection) => {
      const stream = streams[FD[connection]];
      if (stream === undefined) throw new Error('QEMU was started without its streams');
      const client = new QmpClient(stream, name, { events: false });
      return { connection, client, command: new CommandAtHand(client, CAPTURE_COMMANDS[connection]) };
    });
    this.#atHand = atHand.map(({ client }) => client);
    this.captures = Object.fromEntries(atHand.map(({ connection, command }) => [connection, command])) as CaptureCommands;
    // Both may break when QEMU dies: `ended` tells, and a load that is cut short is refused by QEMU itself.
    for (const stream of [this.console, this.incoming]) stream.on('error', () => stream.destroy());
    stderr.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString('utf8')).slice(-LIMITS.stderr_bytes);
    });
    // Not the child's `close`: that waits for every stream to be read to its end, also for a console that nobody reads.
    const silent = new Promise<void>((resolve) => stderr.once('close', resolve));
    this.ended = new Promise((resolve) => {
      child.once('exit', async (status, signal) => {
        this.#over = true;
        await silent;
        this.incoming.destroy();
        const how = signal !== null ? `was ended by ${signal}` : `ended with status ${status ?? 'unknown'}`;
        const said = this.#stderr.trim();
        resolve(`QEMU (pid ${pid}) ${how}${said === '' ? '' : `: ${said}`}`);
      });
    });
  }

  /**
   * Starts QEMU in a process group of its own. Throws `host-unfit` when it cannot be executed, `vm-gone` with its own words when it ended
   * before it greeted, `vm-stuck` when it does not greet.
   */
  static async start(qemu: string, args: readonly string[], name: string): Promise<QemuProcess> {
    const child = spawn(qemu, args, { stdio: ['ignore', 'ignore', 'pipe', ...Object.values(FD).map(() => 'pipe' as const)], detached: true, cwd: '/' });
    const pid = await new Promise<number>((resolve, reject) => {
      child.once('spawn', () => resolve(child.pid ?? 0));
      child.once('error', (error) => reject(new HypervisorError('host-unfit', `cannot start ${qemu}: ${error.message}; install qemu-system-x86`)));
    });
    const started = new QemuProcess(child, pid, name);
    try {
      started.#version = await started.qmp.ready();
    } catch (error) {
      await started.kill();
      throw started.#stderr === '' ? error : new HypervisorError('vm-gone', `${name}: ${await started.ended}`, { cause: error });
    }
    return started;
  }

  /** Its captures' commands can be given, from now on. */
  async openCaptures(): Promise<void> {
    await Promise.all(this.#atHand.map((qmp) => qmp.ready()));
  }

  get over(): boolean {
    return this.#over;
  }

  /** QEMU's version and build. */
  get version(): string {
    return this.#version;
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(): Promise<void> {
    if (!this.#over) this.#child.kill('SIGKILL');
    const gone = await within(this.ended, LIMITS.kill_ms);
    if (!gone) throw new HypervisorError('vm-stuck', `QEMU (pid ${this.pid}) is still there ${LIMITS.kill_ms} ms after SIGKILL`);
  }
}

/** Whether `promise` settles in time; does not keep the process alive longer than that. */
async function within(promise: Promise<unknown>, timeout_ms: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), timeout_ms);
  try {
    return await Promise.race([promise.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
