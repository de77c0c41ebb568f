import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { all } from '../../libs/lab/src/demo/facts.js';
import { hearClock, TestGuest } from '../../libs/hypervisor/test/guest.js';
import { PATIENCE_MS, ProtectedCluster, until } from './protected-cluster.js';

describe('a cluster whose clock policy is follow', () => {
  const guest = new TestGuest();
  let cluster: ProtectedCluster;

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts: ['alpha', 'beta', 'gamma'], memory_mib: 1024 });
    const vms = [['stays', 'alpha'], ['moves', 'beta']].map(([name = '', host]) => {
      const { memory_mib, kernel, initrd, append, nics: [nic] } = guest.spec(name, 'clock');
      return { name, host, memory_mib, kernel, initrd: initrd ?? '', append, mac: nic?.mac ?? '' };
    });
    const file = cluster.file('clocks', [], { clock: 'follow', vms }, ['alpha', 'beta', 'gamma']);
    const applied = await cluster.virtcft('apply', '-f', file, '--wait');
    if (applied.code !== 0) throw new Error(applied.err);
  }, 4 * PATIENCE_MS);
  afterAll(async () => {
    await cluster.close();
    guest.close();
  }, PATIENCE_MS);

  /** A guest's console where it runs now, from its host's run folder; empty until there is one. */
  async function consoleOf(vm: string): Promise<string> {
    const { machine, runDir } = cluster.lab.host(cluster.watch.state.placement[vm]!);
    return readFile(join(`/proc/${machine.initPid}/root${runDir}`, 'vms', vm, 'console.uncommitted.log'), 'utf8').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw error;
    });
  }
  const heard = async (vm: string): Promise<ReturnType<typeof hearClock>> => hearClock(await consoleOf(vm));

  /** How far a guest's real time is behind the machine's, in seconds: the least of many readings, since reading late only adds. */
  async function behind_s(vm: string): Promise<number> {
    let least_s = Infinity;
    for (let i = 0; i < 30; i++) {
      const last = (await heard(vm)).at(-1);
      if (last !== undefined) least_s = Math.min(least_s, Date.now() / 1000 - last.real_s);
      await sleep(100);
    }
    return least_s;
  }

  it('keeps the time of all its guests through cuts and the loss of a host (R25)', async () => {
    for (const vm of ['stays', 'moves']) await until(`${vm} to boot`, async () => (await heard(vm)).length > 3);
    await cluster.commits(10);
    const before_s = [await behind_s('stays'), await behind_s('moves')];
    const { generation } = cluster.watch.state;
    await cluster.installation.killHost('beta');
    expect(await cluster.recovered(generation)).toMatchObject([{ kind: 'host-lost', lost: [{ host: 'beta' }] }]);

    const { facts } = cluster.watch;
    const { data: { basis, ahead_ms } } = all(facts, 'generation.raised').at(-1)!;
    const barrier = all(facts, 'epoch.opened').find(({ data }) => data.epoch === basis.epoch)!;
    const resumed = all(facts, 'recovery.resumed').at(-1)!;
    const lost_s = (resumed.fact.at_ms - barrier.fact.at_ms) / 1000;
    expect(ahead_ms).toBeGreaterThan(0);
    expect(ahead_ms / 1000).toBeLessThanOrEqual(lost_s);
    for (const vm of ['stays', 'moves']) {
      const at_s = await behind_s(vm);
      // Without the policy it would be behind by all of `lost_s` and every pause.
      const fallen_s = at_s - before_s[vm === 'stays' ? 0 : 1]!;
      expect(fallen_s).toBeLessThan(lost_s / 2);
      expect(fallen_s).toBeGreaterThan(-1);
      expect(Math.max(...(await heard(vm)).map(({ back }) => back))).toBe(0);
      expect(await consoleOf(vm)).not.toMatch(/soft lockup|stall/);
    }
    expect(await cluster.json('describe', 'cluster', 'clocks')).toMatchObject({ spec: { clock: 'follow' }, drifting: [] });
  }, 4 * PATIENCE_MS);
});
