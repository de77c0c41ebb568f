import type { Socket } from 'node:net';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { EXIT, FrameReader, OUTPUT } from './frames.js';

/** A program in dom0 that is talked to while it runs. */
export interface Dom0Channel {
  readonly input: Writable;
  readonly output: Readable;
  /** How it ended, with what it said in complaint; never rejects. */
  readonly ended: Promise<string>;
}

/** Runs a program by dom0's agent behind `socket`; ending `input` ends its standard input. */
export function openChannel(socket: Socket, words: readonly string[]): Dom0Channel {
  const output = new PassThrough();
  let complaint = '';
  let code: string | null = null;
  const frames = new FrameReader((kind, content) => {
    if (kind === OUTPUT) output.write(content);
    else if (kind === EXIT) {
      code = content.toString('latin1');
      // dom0's agent waits for more input until somebody says that none comes, also for a program that was killed.
      socket.end();
    } else complaint = (complaint + content.toString('utf8')).slice(-4_096);
  });
  socket.on('data', (piece: Buffer) => { try { frames.push(piece); } catch (error) { socket.destroy(error as Error); } });
  socket.write(`${JSON.stringify({ words })}\n`);
  const ended = new Promise<string>((resolve) => {
    socket.on('error', (error) => { complaint = error.message; });
    socket.once('close', () => {
      output.end();
      resolve(`${code === null ? 'dom0 went away' : `it ended with ${code}`}${complaint ? `: ${complaint.trim()}` : ''}`);
    });
  });
  return { input: socket, output, ended };
}
