import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { childOf, type Namespaces } from './namespaces.js';

export interface ProgramOptions {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Standard output and error go there, appended. */
  readonly log: string;
  /** -20 to 19; what should yield to the guests gets more, what everything waits for less. */
  readonly nice?: number;
}

export interface Ended { readonly code: number | null; readonly signal: NodeJS.Signals | null }

/** A program that runs in a machine of the lab until it is stopped or its machine dies. */
export class Program {
  readonly ended: Promise<Ended>;

  private constructor(readonly name: string, readonly log: string, private readonly entered: ChildProcess) {
    this.ended = new Promise((resolve, reject) => {
      entered.once('error', reject);
      entered.once('close', (code, signal) => { resolve({ code, signal }); });
    });
  }

  static start(machine: Namespaces, options: ProgramOptions): Program {
    const [first, ...words] = [...machine.enter(), ...(options.nice ? ['nice', '-n', String(options.nice)] : []), ...options.command];
    if (first === undefined) throw new Error('nothing to run');
    const log = openSync(options.log, 'a');
    try {
      return new Program(options.name, options.log, spawn(first, words, { env: { ...process.env, ...options.env }, stdio: ['ignore', log, log] }));
    } finally {
      closeSync(log);
    }
  }

  get running(): boolean {
    return this.entered.exitCode === null && this.entered.signalCode === null;
  }

  /** The program's own process id as seen from here (nsenter is its parent), or null when it has ended. */
  get pid(): number | null {
    return this.running && this.entered.pid !== undefined ? childOf(this.entered.pid) : null;
  }

  signal(signal: NodeJS.Signals): void {
    const pid = this.pid;
    if (pid === null) return;
    process.kill(pid, signal);
    // In a machine that was frozen the one that waits for it is stopped, too, and would never tell.
    this.entered.kill('SIGCONT');
  }

  /** SIGTERM, and SIGKILL when it still runs after the grace. */
  async stop(grace_ms = 5_000): Promise<Ended> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => { this.signal('SIGKILL'); }, grace_ms);
    const ended = await this.ended;
    clearTimeout(timer);
    return ended;
  }

  /** The log's last lines, for an error message. */
  tail(lines = 20): string {
    return readFileSync(this.log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }
}
