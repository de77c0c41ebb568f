import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readConfiguration, WrongConfiguration } from '@virtcft/service';
import { hostAgent, runAgent, type HostAgentConfiguration } from '../src/index.js';

describe('an agent', () => {
  const folder = mkdtempSync(join(tmpdir(), 'agent-'));
  const secret = join(folder, 'secret');
  const env = { VIRTCFT_HOST: 'alpha', VIRTCFT_TUNNEL_ADDRESS: '127.0.0.1', VIRTCFT_RUN_DIR: join(folder, 'run') };
  afterAll(() => { rmSync(folder, { recursive: true }); });

  it('does not start without a tunnel secret, and its help says how to make one', () => {
    expect(() => readConfiguration(hostAgent, env, [], () => undefined)).toThrow(/VIRTCFT_TUNNEL_SECRET_FILE: is missing/);
    let help = '';
    readConfiguration(hostAgent, {}, ['--help'], (text) => { help = text; });
    expect(help).toMatch(/VIRTCFT_TUNNEL_SECRET_FILE\n.*head -c 32 \/dev\/urandom.*\(required\)/);
  });

  it('does not start with a secret that others may read, and says what to do without showing it', async () => {
    writeFileSync(secret, 'a secret of thirty-two bytes and more');
    chmodSync(secret, 0o644);
    const configuration = readConfiguration(hostAgent, { ...env, VIRTCFT_TUNNEL_SECRET_FILE: secret }, [], () => undefined) as HostAgentConfiguration;
    const refused = runAgent(configuration).catch((error: unknown) => error);
    expect(await refused).toBeInstanceOf(WrongConfiguration);
    expect(String(await refused)).toMatch(/VIRTCFT_TUNNEL_SECRET_FILE: .*may be read by others.*chmod 600/);
    expect(String(await refused)).not.toContain('thirty-two');
  });
});
