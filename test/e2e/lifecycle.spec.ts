import { setTimeout as sleep } from 'node:timers/promises';
import { OutsideClients, readLoad, type ControlService } from '@virtcft/lab';
import { PATIENCE_MS, ProtectedCluster, until, type Guest } from './protected-cluster.js';

// One cluster lives through everything below, in this order: each case leaves it protected.
const guests: Guest[] = [
  { name: 'redis', role: 'redis', host: 'alpha', memory_mib: 128, peers: ['redis', 'bank'] },
  { name: 'bank', role: 'bank', host: 'beta', peers: ['redis', 'bank'] },
  // These two end and restart by their own will, so that they keep no money for others.
  { name: 'sleeper', role: 'bank', host: 'beta' },
  { name: 'fragile', role: 'bank', host: 'alpha' },
];
interface VmRow { readonly vm: string; readonly host: string | null; readonly state: string | null }

describe('a protected cluster', () => {
  let cluster: ProtectedCluster;
  let clients: OutsideClients;

  const state = () => cluster.watch.state;
  const vm = async (name: string): Promise<VmRow | undefined> => (await cluster.json<{ vms: VmRow[] }>('get', 'vms')).vms.find((row) => row.vm === name);
  /** Run states that the stored captures of a VM have, newest last. */
  const captured = (name: string): string[] => cluster.facts('segments.stored').flatMap(({ segments }) => segments.filter((segment) => segment.vm === name).map(({ runState }) => runState));
  const acked = async (): Promise<number> => (await clients.status()).writer.acked;
  /** Writes of outside clients are acknowledged, money moves, and neither is lost. */
  const soundness = async (): Promise<void> => {
    const [before, { moves }] = [await acked(), await cluster.bank('bank')];
    await until('more writes acknowledged', async () => await acked() > before + 5);
    await until('more money moved', async () => (await cluster.bank('bank')).moves > moves);
    expect(await clients.check()).toMatchObject({ lost: 0, unknown: 0, complaints: [] });
    expect(await cluster.audit('redis', 'bank')).toMatchObject({ settled: true, errors: 0, reconnects: 0, complaints: [] });
    expect(cluster.facts('segments.stored').reduce((sum, { verified }) => sum + verified.differing, 0)).toBe(0);
  };

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts: ['alpha', 'beta', 'gamma'], memory_mib: 2048 });
    const file = cluster.file('shop', guests, { verify_every: 20 }, ['alpha', 'beta', 'gamma']);
    const applied = await cluster.virtcft('apply', '-f', file, '--wait');
    if (applied.code !== 0) throw new Error(applied.err);
    for (const { name } of guests) await cluster.pattern(name);
    await until('both banks connected', async () => (await cluster.bank('redis')).connected === 1 && (await cluster.bank('bank')).connected === 1);
    clients = OutsideClients.start(cluster.lab, cluster.address('redis'), { ...readLoad('light').client, keys: 40 });
    await clients.write();
  }, 4 * PATIENCE_MS);
  afterAll(async () => { await cluster.close(); }, PATIENCE_MS);
  afterEach(() => { expect(cluster.installation.fallen()).toEqual([]); });

  it('goes on with epochs while a guest reboots, and the guest comes back', async () => {
    const { generation } = state();
    await until('some rounds of its table', async () => (await cluster.pattern('fragile')).written > 300);
    await cluster.power('fragile', 'reboot');
    const { epochs } = state();
    await until('the guest has begun anew', async () => (await cluster.pattern('fragile')).written < 300);
    expect(state().epochs.committed).toBeGreaterThan(epochs.committed + 5);
    expect(state().generation).toBe(generation);
    expect(await cluster.pattern('fragile')).toMatchObject({ errors: 0 });
    expect((await vm('fragile'))?.state).toBe('running');
    await soundness();
  }, 3 * PATIENCE_MS);

  it('keeps a guest that powers off, as off, and restores it as off on another host', async () => {
    await cluster.power('sleeper', 'poweroff');
    await cluster.watch.until('the guest is off', PATIENCE_MS, () => cluster.facts('vm.run-state').some((told) => told.vm === 'sleeper' && told.runState === 'off'));
    await cluster.commits(3);
    expect(captured('sleeper').at(-1)).toBe('off');
    expect(await vm('sleeper')).toMatchObject({ host: 'beta', state: 'off' });

    const { generation } = state();
    await cluster.installation.killHost('beta');
    expect(await cluster.recovered(generation)).toMatchObject([{ kind: 'host-lost', lost: [{ host: 'beta' }] }]);
    const restored = await vm('sleeper');
    expect(restored?.state).toBe('off');
    expect(['alpha', 'gamma']).toContain(restored?.host);
    expect(captured('sleeper').at(-1)).toBe('off');
    expect((await vm('bank'))?.state).toBe('running');
    await soundness();
    await cluster.installation.startHost('beta');
    await cluster.watch.until('beta is back as the spare', PATIENCE_MS, () => state().hosts['beta']?.status === 'admitted');
  }, 4 * PATIENCE_MS);

  it('keeps a guest that panics, as panicked, and the others run', async () => {
    const { generation } = state();
    await cluster.power('fragile', 'panic');
    await cluster.watch.until('the guest has panicked', PATIENCE_MS, () => cluster.facts('vm.run-state').some((told) => told.vm === 'fragile' && told.runState === 'panicked'));
    await cluster.commits(3);
    expect(captured('fragile').at(-1)).toBe('panicked');
    expect((await vm('fragile'))?.state).toBe('panicked');
    expect(state().generation).toBe(generation);
    await soundness();
  }, 3 * PATIENCE_MS);

  it('recovers in place when one hypervisor process is killed', async () => {
    const { generation, placement } = state();
    const host = placement['bank'] ?? '';
    // By its own number: other hosts and labs run processes of the same name.
    await cluster.lab.exec(host, ['sh', '-ec', `for p in /proc/[0-9]*; do
      if tr '\\0' '\\n' < $p/cmdline | grep -qx 'guest=bank'; then kill -KILL "\${p#/proc/}"; fi
    done`]);
    expect(await cluster.recovered(generation)).toMatchObject([{ kind: 'vm-failed', vms: ['bank'], lost: [] }]);
    expect(cluster.facts('vm.failed').map((failed) => failed.vm)).toEqual(['bank']);
    expect(state().placement).toEqual(placement);
    expect((await cluster.json<{ protected: boolean; alarms: unknown[] }>('status', 'shop'))).toMatchObject({ protected: true, stage: 'running', alarms: [] });
    await soundness();
  }, 3 * PATIENCE_MS);

  it('lets output pass while it is unprotected, and holds it again afterwards', async () => {
    expect((await cluster.virtcft('unprotect', 'shop')).out).toContain('protection off');
    await cluster.watch.until('protection is off', PATIENCE_MS, () => !state().protected);
    const { committed } = state().epochs;
    const before = await acked();
    await until('writes acknowledged without a commit', async () => await acked() > before + 20);
    expect(state().epochs.committed).toBe(committed);
    await cluster.watch.until('an alarm says so', PATIENCE_MS, () => cluster.facts('alarm.raised').some(({ alarm }) => alarm === 'unprotected'));

    expect((await cluster.virtcft('protect', 'shop')).code).toBe(0);
    await cluster.commits(3);
    await cluster.watch.until('the alarm is over', PATIENCE_MS, () => cluster.facts('alarm.cleared').some(({ alarm }) => alarm === 'unprotected'));
    await soundness();
  }, 3 * PATIENCE_MS);

  it('lets nothing out while there is no coordinator, and goes on when there is one again', async () => {
    await killed('coordinator');
    await until('no write acknowledged for a second', async () => {
      const before = await acked();
      await sleep(1_000);
      return await acked() === before;
    });
    const { committed } = state().epochs;
    const before = await acked();
    await sleep(1_000);
    expect(state().epochs.committed).toBe(committed);
    expect(await acked()).toBe(before);
    cluster.installation.startService('coordinator');
    await cluster.commits(3);
    await soundness();
  }, 3 * PATIENCE_MS);

  it.each<ControlService>(['failover', 'replica-store'])('goes on when the %s was killed and is started again', async (service) => {
    const { generation } = state();
    await killed(service);
    if (service === 'failover') await cluster.commits(3);
    else await sleep(1_000);
    cluster.installation.startService(service);
    await cluster.commits(3);
    expect(state().generation).toBe(generation);
    await soundness();
  }, 3 * PATIENCE_MS);

  it('suspects nobody when the bus was killed and is back, and goes on', async () => {
    const { generation } = state();
    const suspected = cluster.facts('host.suspected').length;
    await cluster.installation.nats.restart(2_000, 'kill');
    await cluster.commits(5);
    expect(cluster.facts('host.suspected')).toHaveLength(suspected);
    expect(state().generation).toBe(generation);
    await soundness();
  }, 3 * PATIENCE_MS);

  it('recovers from the loss of a host after all of that', async () => {
    const { generation, placement } = state();
    const host = placement['redis'] ?? '';
    await cluster.installation.killHost(host);
    expect(await cluster.recovered(generation)).toMatchObject([{ kind: 'host-lost', lost: [{ host }] }]);
    expect(captured('sleeper').at(-1)).toBe('off');
    expect(captured('fragile').at(-1)).toBe('panicked');
    await soundness();
  }, 3 * PATIENCE_MS);

  async function killed(service: ControlService): Promise<void> {
    const program = cluster.installation.program(service);
    program.signal('SIGKILL');
    await program.ended;
  }
});
