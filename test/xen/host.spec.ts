import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { XenHost } from '@virtcft/lab';

describe('a Xen host under emulation', () => {
  const dir = mkdtempSync(join(tmpdir(), 'virtcft-xen-'));
  let host: XenHost | undefined;

  beforeAll(async () => { host = await XenHost.boot({ name: 'xen-a', dir }); });
  afterAll(async () => { await host?.close(); rmSync(dir, { recursive: true, force: true }); });

  it('runs a real Xen that can have PVH guests', async () => {
    const info = await host!.output(['xl', 'info']);
    expect(info).toMatch(/^xen_version +: 4\.\d+\./m);
    expect(info).toMatch(/^virt_caps +:.*\bhvm\b/m);
    expect(await host!.output(['xl', 'list'])).toMatch(/^Domain-0 +0 /m);
  });

  it('tells output, errors and exit code of a program apart, and one that does not exist', async () => {
    const answer = await host!.exec(['sh', '-c', 'cat; echo wrong >&2; exit 3'], 'as it was');
    expect({ ...answer, out: answer.out.toString() }).toEqual({ code: 3, out: 'as it was', err: 'wrong\n' });
    expect(await host!.exec(['no-such-program'])).toMatchObject({ code: 127, err: expect.stringContaining('no-such-program') as string });
  });

  it('takes files as they are', async () => {
    const content = randomBytes(3 << 20);
    writeFileSync(join(dir, 'file'), content);
    await host!.put(join(dir, 'file'), '/root/file', '0755');
    expect(await host!.output(['sha256sum', '/root/file'])).toContain(createHash('sha256').update(content).digest('hex'));
    expect(await host!.output(['stat', '-c', '%a', '/root/file'])).toBe('755\n');
  });
});
