import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PATIENCE_MS, until } from './protected-cluster.js';

const DEMO = join(import.meta.dirname, '..', '..', 'libs', 'lab', 'dist', 'demo', 'main.js');
const KINDS = ['net', 'mnt', 'pid', 'ipc'];

/** What may be gone by the time it is looked at; and a process that we may not look at is none that we started. */
function unlessGone<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}

const processes = (): string[] => readdirSync('/proc').filter((name) => /^\d+$/.test(name));
const namespacesOf = (pid: string): string[] => KINDS.flatMap((kind) => unlessGone(() => readlinkSync(`/proc/${pid}/ns/${kind}`)) ?? []);
const childrenOf = (pid: string): string[] => (unlessGone(() => readdirSync(`/proc/${pid}/task`)) ?? [])
  .flatMap((task) => (unlessGone(() => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8')) ?? '').split(' ').filter(Boolean));
/** A process and all that it started. */
const familyOf = (pid: string): string[] => [pid, ...childrenOf(pid).flatMap(familyOf)];
/** With its start time: the number alone may be another process's by now. */
const identityOf = (pid: string): string | null => {
  const stat = unlessGone(() => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  return stat === null ? null : `${pid} since ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
};
const mounts = (): string => readFileSync('/proc/self/mountinfo', 'utf8');

describe('Ctrl-C in the demo', () => {
  let temporary: string;
  beforeAll(() => { temporary = mkdtempSync(join(tmpdir(), 'virtcft-interrupt-')); });
  afterAll(() => { rmSync(temporary, { recursive: true, force: true }); });

  // Each run is also the next run of the one before: it starts on what that left, which is nothing.
  it.each([
    ['while the machines are being made', 'a bus, the services', 300],
    ['while guests boot', '3 guests boot', 500],
    ['while it is protected', 'virtcft protect', 3_000],
  ])('%s leaves nothing behind', async (_, line, later_ms) => {
    const before = { shm: readdirSync('/dev/shm'), mounts: mounts(), own: new Set(namespacesOf('self')) };
    const demo = spawn(process.execPath, [DEMO, '--seed', '3', '--kills', '1', '--interval', '200'], { env: { ...process.env, TMPDIR: temporary }, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [demo.stdout, demo.stderr]) stream.on('data', (data: Buffer) => { text += data.toString(); });
    const ended = new Promise<number | null>((resolve, reject) => { demo.once('error', reject).once('close', resolve); });
    const namespaces = new Set<string>();
    const family = new Map<string, string>();
    try {
      await until(`"${line}" is said`, () => {
        if (demo.exitCode !== null) throw new Error(`the demo has ended: ${text}`);
        return text.includes(line);
      });
      await sleep(later_ms);
      for (const pid of familyOf(String(demo.pid))) {
        const identity = identityOf(pid);
        if (identity !== null) family.set(pid, identity);
        for (const name of namespacesOf(pid)) if (!before.own.has(name)) namespaces.add(name);
      }
      // On a slow machine the first interrupt may come when only one machine of the lab is made.
      expect(family.size).toBeGreaterThan(1);
      expect(namespaces.size).toBeGreaterThanOrEqual(KINDS.length);
      expect(text).not.toMatch(/broken off|left this behind/);
    } finally {
      demo.kill('SIGINT');
    }
    expect({ code: await ended, text }).toMatchObject({ code: 130 });

    // The kernel ends what was in a namespace a moment after its first process.
    await until('its processes are gone', () => ![...family].some(([pid, identity]) => identityOf(pid) === identity));
    await until('its namespaces are gone', () => !processes().some((pid) => namespacesOf(pid).some((name) => namespaces.has(name))));
    expect(mounts()).toBe(before.mounts);
    expect(readdirSync('/dev/shm').filter((name) => !before.shm.includes(name))).toEqual([]);
    expect(readdirSync(temporary)).toEqual([]);
  }, 2 * PATIENCE_MS);
});
