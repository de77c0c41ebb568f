import { spawn } from 'node:child_process';
import type { DrillCheck } from '@virtcft/events';
import { limits } from '../limits.js';

/** Runs a command of the shell in a process group of its own, which ends with it or when the time is up. `output` gets all that it says. */
export async function runCheck(command: string, timeout_ms: number, env: Readonly<Record<string, string | undefined>>, output: (text: string) => void): Promise<DrillCheck> {
  const began_ms = performance.now();
  const child = spawn('sh', ['-c', command], { env: { ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let tail = '';
  const hear = (text: string): void => {
    output(text);
    tail = (tail + text).slice(-limits.tail_bytes);
  };
  child.stdout.setEncoding('utf8').on('data', hear);
  child.stderr.setEncoding('utf8').on('data', hear);
  let timed_out = false;
  let killing: NodeJS.Timeout | undefined;
  const timer = setTimeout(() => {
    timed_out = true;
    endGroup(child.pid, 'SIGTERM');
    killing = setTimeout(() => { endGroup(child.pid, 'SIGKILL'); }, limits.check_grace_ms);
  }, timeout_ms);
  const [exit_code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject);
    // Not `close`: what the command left in the background may hold its output.
    child.once('exit', (code, by) => { setImmediate(() => { resolve([code, by]); }); });
  });
  clearTimeout(timer);
  clearTimeout(killing);
  endGroup(child.pid, 'SIGKILL');
  return { exit_code, signal, timed_out, check_ms: Math.round(performance.now() - began_ms), tail };
}

function endGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // Nobody of it is left.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
