import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DemoReport } from '../../libs/lab/src/report/demo-report.js';

const MAIN = fileURLToPath(new URL('../../libs/lab/dist/demo/main.js', import.meta.url));

export interface DemoRun { readonly code: number | null; readonly report: DemoReport; readonly left: readonly string[] }

/** Far above what a slow machine needs; a demo beyond it would also be in the way of the tests after. */
const DEMO_MS = 540_000;
/** For a test with one demo. */
export const RUN_MS = DEMO_MS + 60_000;
const LAST_WORDS = 4_000;

/** The demo as a person runs it, on real guests; and what of it is still there afterwards. */
export async function demo(...words: string[]): Promise<DemoRun> {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is not built: npm run build`);
  const child = spawn(process.execPath, [MAIN, '--json', ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, complaint] = ['', ''];
  child.stdout.on('data', (data: Buffer) => { out += data.toString(); });
  child.stderr.on('data', (data: Buffer) => { complaint += data.toString(); });
  const limit = setTimeout(() => { child.kill('SIGINT'); }, DEMO_MS);
  const code = await new Promise<number | null>((resolve, reject) => { child.once('error', reject).once('close', resolve); });
  clearTimeout(limit);
  if (out === '') throw new Error(`the demo ended with ${code ?? 'a signal'} and no report:\n${complaint.slice(-LAST_WORDS)}`);
  return { code, report: DemoReport.parse(JSON.parse(out)), left: leftOf(`virtcft-lab-${child.pid ?? 0}-`) };
}

/** Processes and folders that bear the lab's name. */
export function leftOf(lab: string): string[] {
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      return [readFileSync(`/proc/${pid}/cmdline`, 'utf8'), readFileSync(`/proc/${pid}/mounts`, 'utf8')].filter((text) => text.includes(lab));
    } catch (error) {
      // It ended while we looked.
      if (['ENOENT', 'ESRCH', 'EINVAL'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
      throw error;
    }
  });
  return [...processes, ...readdirSync('/tmp').filter((name) => name.startsWith(lab))];
}

/** Names of the invariants that did not hold because something was seen to break them. */
export function broken(report: DemoReport): string[] {
  return report.invariants.filter(({ violations }) => violations > 0).map(({ name }) => name);
}
