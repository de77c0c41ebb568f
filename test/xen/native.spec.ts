import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { XenSession } from '@virtcft/hypervisor';
import { XenHost } from '@virtcft/lab';
import { ReplicaImage } from '@virtcft/native';
import { LINES_ON_THEIR_WAY, LOOK_EVERY_MS, MEMORY_MIB, PROGRAM, boot, equip, hear, untilTick } from './pvh-guest.js';

jest.setTimeout(1_800_000);
const PATIENCE_MS = 300_000;
const EPOCHS = Number(process.env['VIRTCFT_XEN_EPOCHS'] ?? 12);

describe('capture and restore on a real Xen', () => {
  const dir = mkdtempSync(join(tmpdir(), 'virtcft-xen-'));
  let host: XenHost;
  let replica: ReplicaImage;
  let state: Buffer;
  let digest: string;
  /** What the guest had counted when it stood for the last epoch. */
  let stood: number;

  const opened: XenSession[] = [];
  const serve = (): XenSession => {
    const session = new XenSession(host.open([PROGRAM, 'serve']), () => undefined);
    opened.push(session);
    return session;
  };
  // Also after a test that failed: the next one's is for the same domain.
  afterEach(async () => { for (const session of opened.splice(0)) await session.end(); });

  beforeAll(async () => {
    replica = new ReplicaImage({ path: join(dir, 'replica'), bytes: MEMORY_MIB * 2 ** 20 });
    host = await XenHost.boot({ name: 'xen-native', dir });
    await equip(host, dir);
  });
  afterAll(async () => {
    replica.close();
    await host.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it('says what the host can do, and which domains can be captured', async () => {
    expect(await host.output([PROGRAM, 'probe'])).toMatch(/^xen=4\.17\.\S*\npvh=yes\npv=no: /);
    expect(await host.output([PROGRAM, 'list'])).toBe('');
    const answer = await host.exec([PROGRAM, 'capture', 'nobody', '/tmp/section', '/tmp/state']);
    expect(answer).toMatchObject({ code: 1, err: expect.stringContaining('ENODOMAIN: there is no domain nobody') as string });
    await boot(host, 'writer');
    expect(await host.output([PROGRAM, 'list'])).toMatch(/name=writer condition=running paused=0 vcpus=1 .*capture=yes/);
  });

  it('misses no written page over many epochs of a running guest, and its sections build the same memory elsewhere', async () => {
    const session = serve();
    const attached = await session.ask(['attach', 'writer']);
    expect(attached.number('pages')).toBe(MEMORY_MIB * 256);
    let parent: number | null = null;
    const [pauses, copies, sizes]: [number[], number[], number[]] = [[], [], []];
    for (let epoch = 1; epoch <= EPOCHS; epoch++) {
      for (let round = epoch === 1 ? 3 : epoch % 2; round > 0; round--) await session.ask(['precopy']);
      const suspended = await session.ask(['suspend', PATIENCE_MS]);
      const captured = await session.ask(['capture', epoch]);
      const compared = await session.ask(['compare', epoch]);
      expect({ epoch, differing: compared.number('differing') }).toEqual({ epoch, differing: 0 });
      if (epoch === EPOCHS) stood = (await hear(host, 'writer')).ticks.at(-1)!;
      await session.ask(['resume']);
      pauses.push(suspended.number('suspend_us') / 1000);
      copies.push((captured.number('scan_us') + captured.number('copy_us') + captured.number('state_us')) / 1000);
      sizes.push(captured.number('pages'));
      // Every fourth epoch is not stored: the next one covers it (R2a).
      if (epoch % 4 === 2 && epoch !== EPOCHS) continue;
      await replica.apply((await session.ask(parent === null ? ['encode', epoch] : ['encode', epoch, parent])).payload);
      parent = epoch;
      if (epoch % 10 === 0 || epoch === EPOCHS) expect(await replica.digest()).toBe((await session.ask(['digest', epoch])).text('digest'));
      if (epoch % 2 === 0) await session.ask(['fold', epoch]);
    }
    state = (await session.ask(['state'])).payload;
    digest = await replica.digest();
    await session.end();
    const heard = await untilTick(host, 'writer', stood + 3);
    expect(heard).toMatchObject({ boots: 1, errors: 0 });
    const middle = (numbers: number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!;
    console.log(JSON.stringify({ epochs: EPOCHS, suspend_ms: middle(pauses), capture_ms: middle(copies), pages: middle(sizes), state_bytes: state.length, verified: heard.verified }));
  });

  it('restores the guest from the replica, and it goes on where it was', async () => {
    await host.output(['xl', 'destroy', 'writer']);
    const session = serve();
    await session.ask(['fill', MEMORY_MIB * 256, EPOCHS]);
    const extents = await replica.extents();
    for (let i = 0; i < extents.length; i += 2) {
      const [first, count] = [extents[i]!, extents[i + 1]!];
      for (let at = 0; at < count; at += 1024) await session.ask(['supply'], await replica.read({ first: first + at, count: Math.min(1024, count - at) }));
    }
    await session.ask(['filled']);
    expect((await session.ask(['digest', EPOCHS])).text('digest')).toBe(digest);
    const before = (await hear(host, 'writer')).ticks.length;
    const built = await session.ask(['build', 'writer', EPOCHS], state);
    expect(built.number('domain')).toBeGreaterThan(1);
    await session.ask(['unpause']);
    const until = performance.now() + PATIENCE_MS;
    let after: readonly number[] = [];
    while (after.length < 5 && performance.now() < until) {
      await sleep(LOOK_EVERY_MS);
      after = (await hear(host, 'writer')).ticks.slice(before);
    }
    // The cut may have been in the middle of a line, and what was on its way in the console's ring is said by neither guest.
    expect(after[0]! - stood).toBeGreaterThanOrEqual(1);
    expect(after[0]! - stood).toBeLessThanOrEqual(2 + LINES_ON_THEIR_WAY);
    // A delta on the restored cut: it is protected again at once.
    await session.ask(['suspend', PATIENCE_MS]);
    await session.ask(['capture', EPOCHS + 1]);
    expect((await session.ask(['compare', EPOCHS + 1])).number('differing')).toBe(0);
    await session.ask(['resume']);
    await replica.apply((await session.ask(['encode', EPOCHS + 1, EPOCHS])).payload);
    expect(await replica.digest()).toBe((await session.ask(['digest', EPOCHS + 1])).text('digest'));
    await session.end();
    const heard = await untilTick(host, 'writer', after.at(-1)! + 20);
    expect(heard).toMatchObject({ boots: 1, errors: 0 });
    expect(await host.output(['xl', 'list'])).toMatch(/^writer /m);
  });

  const stages: readonly [string, (session: XenSession) => Promise<unknown>][] = [
    ['after it attached', () => Promise.resolve()],
    ['in the middle of a pre-copy', (session) => { session.ask(['precopy']).catch(() => undefined); return sleep(30); }],
    ['when it has just asked the guest to suspend', (session) => { session.ask(['suspend', PATIENCE_MS]).catch(() => undefined); return sleep(20); }],
    ['while the guest suspends', (session) => { session.ask(['suspend', PATIENCE_MS]).catch(() => undefined); return sleep(150); }],
    ['while the guest stands', (session) => session.ask(['suspend', PATIENCE_MS])],
    ['in the middle of the copy', async (session) => { await session.ask(['suspend', PATIENCE_MS]); session.ask(['capture', 1]).catch(() => undefined); await sleep(30); }],
    ['when the copy is made', async (session) => { await session.ask(['suspend', PATIENCE_MS]); await session.ask(['capture', 1]); }],
    ['after the resume, while it encodes', async (session) => {
      await session.ask(['suspend', PATIENCE_MS]);
      await session.ask(['capture', 1]);
      await session.ask(['resume']);
      session.ask(['encode', 1]).catch(() => undefined);
      await sleep(50);
    }],
  ];

  it.each(stages)('killed %s it leaves a guest that goes on when the abandoned are released', async (_, stage) => {
    const session = serve();
    const { pid } = await session.hello();
    await session.ask(['attach', 'writer']);
    await stage(session);
    await host.output(['kill', '-9', String(pid)]);
    await session.ended;
    const found = await host.output([PROGRAM, 'abandoned']);
    expect(found).toMatch(/^domain=\d+ name=writer (resumed|running)\n$/);
    const { ticks: counted } = await hear(host, 'writer');
    const heard = await untilTick(host, 'writer', counted.at(-1)! + 3);
    expect(heard).toMatchObject({ boots: 1, errors: 0 });
    expect(await host.output([PROGRAM, 'abandoned'])).toBe('');
  });

  it('refuses what it cannot do and touches nothing', async () => {
    const session = serve();
    await expect(session.ask(['capture', 1])).rejects.toMatchObject({ code: 'wrong-state' });
    await session.ask(['attach', 'writer']);
    const second = serve();
    await expect(second.ask(['attach', 'writer'])).rejects.toMatchObject({ code: 'wrong-state', message: expect.stringContaining('is held by process') as string });
    await second.end();
    await expect(session.ask(['build', 'writer', 1], Buffer.from('nonsense'))).rejects.toMatchObject({ code: 'state-refused' });
    await session.end();
    const { ticks: counted } = await hear(host, 'writer');
    await untilTick(host, 'writer', counted.at(-1)! + 3);
  });
});
