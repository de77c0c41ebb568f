import type { Socket } from 'node:net';
import { readFile } from 'node:fs/promises';
import { openChannel, type Dom0Channel } from './channel.js';
import { AnswerReader, type Answer } from './frames.js';

/** Runs programs in dom0 of a Xen host, over connections to its agent. */
export class Dom0 {
  /** `where`: what to look at when dom0 is gone. */
  constructor(readonly host: string, private readonly connect: () => Socket, private readonly where: string) {}

  /** Runs a program in dom0 with `input` as its standard input; Error when dom0 is gone before it has ended. */
  async exec(words: readonly string[], input: Buffer | string = ''): Promise<Answer> {
    const reader = new AnswerReader();
    const socket = this.connect();
    return new Promise<Answer>((resolve, reject) => {
      socket.on('data', (piece: Buffer) => { try { reader.push(piece); } catch (error) { socket.destroy(error as Error); } });
      socket.once('error', reject);
      socket.once('close', () => {
        const answer = reader.answer();
        if (answer) resolve(answer);
        else reject(new Error(`dom0 of ${this.host} went away while it ran \`${words.join(' ')}\`: see ${this.where}`));
      });
      socket.write(`${JSON.stringify({ words })}\n`);
      socket.end(input);
    });
  }

  /** Starts a program in dom0 that is talked to while it runs. */
  open(words: readonly string[]): Dom0Channel { return openChannel(this.connect(), words); }

  /** Output of a program in dom0; Error with what it said when its exit code is not 0. */
  async output(words: readonly string[], input: Buffer | string = ''): Promise<string> {
    const { code, out, err } = await this.exec(words, input);
    if (code !== 0) throw new Error(`\`${words.join(' ')}\` in dom0 of ${this.host} ended with ${code}: ${err.trim() || out.toString('utf8').trim()}`);
    return out.toString('utf8');
  }

  /** Copies a file of ours to `path` in dom0. `mode` is octal, as chmod has it. */
  async put(file: string, path: string, mode = '0644'): Promise<void> {
    await this.output(['sh', '-ec', 'mkdir -p "$(dirname "$1")"; cat > "$1.part"; chmod "$2" "$1.part"; mv "$1.part" "$1"', 'put', path, mode], await readFile(file));
  }
}
