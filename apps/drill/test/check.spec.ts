import { runCheck } from '../src/inside/check.js';

const run = (command: string, timeout_ms = 30_000, env: Record<string, string> = {}): ReturnType<typeof runCheck> => runCheck(command, timeout_ms, { PATH: process.env['PATH'], ...env }, () => undefined);

describe('the check of a drill', () => {
  it('is a command of the shell: its exit code and the end of what it said are kept', async () => {
    expect(await run('echo "$VIRTCFT_DRILL_VMS"; echo gone >&2; exit 4', 30_000, { VIRTCFT_DRILL_VMS: 'db=10.0.0.1' })).toMatchObject({ exit_code: 4, signal: null, timed_out: false, tail: 'db=10.0.0.1\ngone\n' });
    const { tail } = await run('head -c 100000 /dev/zero | tr "\\0" x; echo end');
    expect(tail.length).toBe(4_096);
    expect(tail.endsWith('xxend\n')).toBe(true);
  });

  it('has its time, and what it started ends with it', async () => {
    const began_ms = performance.now();
    expect(await run('sleep 600 & trap "" TERM; wait; sleep 600', 200)).toMatchObject({ exit_code: null, signal: 'SIGKILL', timed_out: true });
    expect(performance.now() - began_ms).toBeLessThan(60_000);
    expect(await run('sleep 600 & exit 0')).toMatchObject({ exit_code: 0, timed_out: false });
  });
});
