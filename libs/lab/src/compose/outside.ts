import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { command } from '../command.js';
import type { Namespaces } from '../namespaces.js';
import { limits } from './limits.js';

/** A client on the outside network: the engine's own end of it. Asks a guest's Redis one line at a time. */
export class OutsideClient {
  constructor(private readonly machine: Namespaces, private readonly guest: string) {}

  /** A frame that the kernel hands over with an unfinished checksum would reach a guest as it is. */
  async prepare(address: string): Promise<void> {
    const found = (await command(['ip', '-o', '-4', 'address', 'show', 'to', address], this.machine)).split(/\s+/)[1];
    if (found === undefined || found === '') throw new Error(`no bridge of the engine has the address ${address}`);
    await command(['ethtool', '-K', found, 'tx', 'off', 'tso', 'off', 'gso', 'off'], this.machine);
  }

  /** The reply's last line, once the cut that covers it is committed. Throws when none comes. */
  async ask(request: string, lines: number): Promise<string> {
    const script = 'exec 3<>"/dev/tcp/$1/6379" && printf "%s\\r\\n" "$2" >&3 && head -n "$3" <&3';
    const [first = '', ...rest] = [...this.machine.enter(), 'bash', '-c', script, 'ask', this.guest, request, String(lines)];
    return new Promise((resolve, reject) => {
      execFile(first, rest, { timeout: limits.guest_answer_ms }, (error, stdout) => {
        const answer = stdout.trim().split(/\r?\n/);
        if (error === null && answer.length === lines) resolve(answer.at(-1) ?? '');
        else reject(new Error(`the guest ${this.guest} does not answer "${request}"`, { cause: error }));
      });
    });
  }

  /** Asks again until the guest is up. */
  async askWhenUp(request: string, lines: number): Promise<string> {
    for (const end = performance.now() + limits.guest_up_ms; ;) {
      try {
        return await this.ask(request, lines);
      } catch (error) {
        if (performance.now() > end) throw error;
        await sleep(limits.poll_ms);
      }
    }
  }
}
