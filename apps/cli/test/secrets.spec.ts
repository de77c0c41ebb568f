import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keysIn } from '@virtcft/object-store';
import { run } from '../src/index.js';

describe('virtcft secrets', () => {
  let folder = '';
  beforeEach(() => { folder = join(mkdtempSync(join(tmpdir(), 'virtcft-secrets-')), 'secrets'); });
  afterEach(() => { rmSync(join(folder, '..'), { recursive: true }); });

  const make = async (...words: string[]): Promise<{ code: number; made: string[]; said: string }> => {
    let [out, err] = ['', ''];
    const io = { out: (text: string) => { out += text; }, err: (text: string) => { err += text; }, env: {}, signal: new AbortController().signal, terminal: false };
    const code = await run(['--output', 'json', 'secrets', '--dir', folder, '--hosts', ...words], io);
    return { code, made: code === 0 ? (JSON.parse(out) as { made: string[] }).made : [], said: err };
  };
  const read = (path: string): string => readFileSync(join(folder, path), 'utf8');

  it('makes a user on the bus for each service and host, and keeps what is there', async () => {
    expect((await make('host-a')).code).toBe(0);
    const [password, tunnel] = [read('bus/coordinator.password'), readFileSync(join(folder, 'tunnel-secret'))];
    expect(tunnel).toHaveLength(32);
    const again = await make('host-a', 'host-b');
    expect(again.made.sort()).toEqual(['bus/host-agent-host-b.password', 'bus/nats.conf', 'store/users']);
    expect(read('bus/coordinator.password')).toBe(password);
    const { authorization } = JSON.parse(read('bus/nats.conf')) as { authorization: { users: { user: string; password: string }[] } };
    expect(authorization.users.map(({ user }) => user).sort()).toEqual(['consumer', 'coordinator', 'failover', 'host-agent-host-a', 'host-agent-host-b', 'operator', 'replica-store']);
    expect(authorization.users.find(({ user }) => user === 'coordinator')?.password).toBe(password.trim());
    expect(read('store/users')).toMatch(/^coordinator [0-9a-f]{40}\nreplica-store [0-9a-f]{40}\n$/);
  });

  it('lets nobody else into the folder', async () => {
    await make('host-a');
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const path of ['tunnel-secret', 'tls/ca.key']) expect(statSync(join(folder, path)).mode & 0o777).toBe(0o600);
  });

  it('makes a key for the object store, keeps it, and puts a new current one beside it when that is asked for', async () => {
    await make('host-a');
    const first = keysIn(read('store/keys'));
    expect(statSync(join(folder, 'store/keys'))).toMatchObject({ mode: 0o100_600, ...(process.getuid?.() === 0 ? { uid: 1000 } : {}) });
    expect((await make('host-a')).made).not.toContain('store/keys');
    expect((await make('host-a', '--rotate-store-key')).made).toContain('store/keys');
    const second = keysIn(read('store/keys'));
    expect(first?.current.id).toMatch(/^20[0-9]{6}-[0-9a-f]{6}$/);
    expect([second?.ids.length, second?.ids[0]]).toEqual([2, first?.current.id]);
    expect(second?.current.id).toBe(second?.ids[1]);
    expect(first !== null && second?.find(first.current.id)?.secret.equals(first.current.secret)).toBe(true);
    expect(second?.current.secret.equals(second.find(first?.current.id ?? '')?.secret ?? second.current.secret)).toBe(false);
  });

  it('makes a certificate that its own authority vouches for, and renews it when it is removed', async () => {
    await make('host-a');
    const verify = (): string => execFileSync('openssl', ['verify', '-CAfile', join(folder, 'tls/ca.crt'), '-verify_hostname', 'minio', join(folder, 'tls/minio.crt')], { encoding: 'utf8' });
    expect(verify()).toContain('OK');
    unlinkSync(join(folder, 'tls/minio.crt'));
    expect((await make('host-a')).made).toContain('tls/minio.crt');
    expect(verify()).toContain('OK');
  });

  it('refuses a name that no host can have', async () => {
    const { code, said } = await make('Host A');
    expect(code).toBe(2);
    expect(said).toContain('Host A');
  });
});
