import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const source = new URL('../src/log.ts', import.meta.url).href;

/** The logger in a process of its own, for it writes to stderr itself. Node strips the types. */
function run(code: string, level?: string): { out: string; lines: Record<string, unknown>[]; error: string; status: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--experimental-strip-types', '--input-type=module', '-e', `import { logger } from '${source}';\n${code}`], {
    encoding: 'utf8', cwd: fileURLToPath(new URL('..', import.meta.url)), env: { ...process.env, VIRTCFT_LOG: level ?? 'info', NODE_NO_WARNINGS: '1' },
  });
  return { out: stdout, error: stderr, status, lines: status === 0 ? stderr.trim().split('\n').filter(Boolean).map((line) => JSON.parse(line) as Record<string, unknown>) : [] };
}

it('lines are JSON on stderr, with the name, and never hold a secret', () => {
  const { out, lines } = run(`logger('agent', { host: 'a' }).info({ password: 'p1', nats: { password: 'p2', user: 'u' }, s3: { secretKey: 'p3' } }, 'ready'); logger('x').debug('hidden');`);
  expect(out).toBe('');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({ name: 'agent', host: 'a', msg: 'ready', password: '[hidden]', nats: { password: '[hidden]', user: 'u' } });
  expect(JSON.stringify(lines)).not.toMatch(/p1|p2|p3/);
});

it('the level is chosen by VIRTCFT_LOG; one that is none is refused by name', () => {
  expect(run(`logger('x').debug('shown');`, 'debug').lines).toHaveLength(1);
  expect(run(`logger('x').error('hidden');`, 'silent').lines).toHaveLength(0);
  const { status, error } = run(`logger('x')`, 'loud');
  expect(status).not.toBe(0);
  expect(error).toContain('VIRTCFT_LOG is "loud"');
});
