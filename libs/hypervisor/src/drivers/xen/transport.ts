import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { HypervisorError, reasonOf } from '../../errors.js';

/** A program that runs in dom0, seen through its pipes. */
export interface XenChannel {
  readonly input: Writable;
  readonly output: Readable;
  /** Why it is over; never rejects. */
  readonly ended: Promise<string>;
}

/** How this process reaches dom0: it runs there itself, or the lab's emulated host runs programs for it. */
export interface XenTransport {
  /** Runs a program to its end, with `input` as its standard input. */
  run(words: readonly string[], input?: string | Buffer): Promise<{ readonly code: number; readonly out: Buffer; readonly err: string }>;
  open(words: readonly string[]): XenChannel;
}

/** In dom0 itself. */
export const localTransport: XenTransport = {
  run: (words, input = '') => new Promise((resolve, reject) => {
    const [program = '', ...rest] = words;
    const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'] });
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on('data', (piece: Buffer) => out.push(piece));
    child.stderr.on('data', (piece: Buffer) => err.push(piece));
    child.stdin.on('error', () => undefined);  // it wants no more; its exit code tells
    child.once('error', (error) => { reject(new HypervisorError('host-unfit', `cannot run ${program}: ${reasonOf(error)}`, { cause: error })); });
    child.once('close', (code) => { resolve({ code: code ?? 128, out: Buffer.concat(out), err: Buffer.concat(err).toString('utf8') }); });
    child.stdin.end(input);
  }),
  open: (words) => {
    const [program = '', ...rest] = words;
    const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdin.on('error', () => undefined);
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => { resolve(reasonOf(error)); });
      child.once('close', (code, signal) => { resolve(`it ended with ${signal ?? code}`); });
    });
    return { input: child.stdin, output: child.stdout, ended };
  },
};
