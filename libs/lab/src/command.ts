import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { LabUnavailable, type Namespaces } from './namespaces.js';

const execute = promisify(execFile);

/** Runs a command to its end, in a machine when one is given; its output. */
export async function command(words: readonly string[], machine?: Namespaces): Promise<string> {
  const [first, ...rest] = [...(machine?.enter() ?? []), ...words];
  if (first === undefined) throw new Error('nothing to run');
  try {
    return (await execute(first, rest, { maxBuffer: 16 << 20, env: process.env })).stdout;
  } catch (error) {
    const { code, stderr, message } = error as { code?: string | number; stderr?: string; message: string };
    if (code === 'ENOENT') throw new LabUnavailable(`the program ${first} is missing: npm run setup installs what the lab needs`, { cause: error });
    throw new Error(`\`${words.join(' ')}\`${machine ? ` in ${machine.name}` : ''}: ${stderr?.trim() || message}`, { cause: error });
  }
}

/** Several ip(8) commands at once, one a line. */
export async function ip(lines: readonly string[], machine: Namespaces): Promise<void> {
  // `ip -batch` reads a file; all its commands in one shell are as quick and say which one failed.
  await command(['sh', '-ec', lines.map((line) => `ip ${line}`).join('\n')], machine);
}
