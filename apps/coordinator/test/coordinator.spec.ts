import { parseManifest } from '@virtcft/checkpoint';
import type { Bus } from '@virtcft/bus';
import type { CutRef, Decision } from '@virtcft/events';
import { startCoordinator, type RunningCoordinator } from '../src/index.js';
import { Ground, specOf, until, VoiceOfAgent } from './agents.js';

interface View { id: string; stage: string; waits_for: string | null; protected: boolean; generation: number; epochs: { committed: number; aborted: number }; tip: { generation: number; epoch: number; hash: string } | null; alarms: { alarm: string }[] }

describe('the coordinator', () => {
  let ground: Ground;
  let bus: Bus;
  let coordinator: RunningCoordinator;
  let agents: VoiceOfAgent[];
  const failures: unknown[] = [];

  const agent = async (host: string, memory_mib?: number): Promise<VoiceOfAgent> => {
    const made = await new VoiceOfAgent(host, await ground.bus(`host-agent:${host}`), ground.store, () => agents, memory_mib).begin();
    ground.onClose(() => made.kill());
    agents.push(made);
    return made;
  };
  const view = async (): Promise<View> => {
    const { clusters } = await bus.request<{ clusters: View[] }>('coordinator', 'get', { cluster: 'shop' });
    return clusters[0]!;
  };
  const decisions = async (): Promise<Decision[]> => (await bus.readDecisions((await view()).id)).map(({ decision }) => decision);
  const committed = async (count: number): Promise<View> => {
    for (;;) {
      const now = await view();
      if (now.epochs.committed >= count) return now;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const begin = async (): Promise<RunningCoordinator> => {
    const made = await startCoordinator(await ground.bus('coordinator'), ground.store, (error) => failures.push(error));
    ground.onClose(() => made.stop());
    return made;
  };

  beforeEach(async () => {
    ground = await Ground.open();
    bus = await ground.bus('operator');
    await bus.provisionStreams({ storage: 'memory' });
    agents = [];
    coordinator = await begin();
  });

  afterEach(async () => {
    await ground.close();
    expect(failures.splice(0)).toEqual([]);
  });

  it('keeps a large VM out of the cuts until its base is stored, and has it begin anew when its host dies before that (R20)', async () => {
    const vms = specOf().vms.map((vm) => (vm.name === 'b' ? { ...vm, memory_mib: 256 } : vm));
    (await agent('h1')).mute.seeds = true;
    await agent('h2');
    await agent('h3');
    await bus.request('coordinator', 'apply', { spec: specOf({ vms, policies: { data_loss: 'halt', recovery_attempts: 3, seed_from_mib: 256, seed_mib_per_s: 64 } }) });
    const held = async ({ tip }: View): Promise<string[]> => Object.keys(parseManifest(await ground.store.get((tip as unknown as { key: string }).key), tip?.hash ?? '').vms).sort();
    const before = await committed(3);
    expect(before).toMatchObject({ syncing: { b: 0 } });
    expect(await held(before)).toEqual(['a', 'c']);
    await until(() => coordinator.coordinator.all()[0]?.alarms.has('syncing') === true);
    agents[0]!.kill();
    await bus.report(before.id, 'failover', { type: 'host.suspected', data: { host: 'h1', agent: agents[0]!.agent, generation: 1, silent_ms: 1, witnesses: [] } });
    await until(() => coordinator.coordinator.all()[0]?.state.stage === 'raised');
    expect((await decisions()).find(({ type }) => type === 'generation.raised')).toMatchObject({ data: { vms: ['a', 'c'] } });
    expect(coordinator.coordinator.all()[0]?.state.syncing).toEqual(['b']);
  });

  it('starts a cluster when its hosts are there, and commits cuts whose manifests form a chain in the store', async () => {
    const applied = await bus.request<{ created: boolean; status: View }>('coordinator', 'apply', { spec: specOf() });
    expect(applied).toMatchObject({ created: true, status: { stage: 'waiting' } });
    await agent('h1');
    await until(() => coordinator.coordinator.all()[0]?.waitsFor === 'host h2, where VM c is placed');
    expect((await view()).waits_for).toBe('host h2, where VM c is placed');
    await agent('h2');
    await agent('h3');
    const { tip } = await committed(5);
    let hash = tip?.hash ?? null;
    let key = (tip as { key?: string } | null)?.key ?? '';
    let cuts = 0;
    const log = await decisions();
    while (hash !== null) {
      const manifest = parseManifest(await ground.store.get(key), hash);
      for (const pack of manifest.packs) expect((await ground.store.stat(pack.key))?.bytes).toBe(pack.bytes);
      hash = manifest.previous;
      key = log.flatMap((one) => (one.type === 'epoch.committed' && one.data.cut.hash === hash ? [one.data.cut.key] : []))[0] ?? '';
      cuts++;
    }
    expect(cuts).toBeGreaterThanOrEqual(5);
    expect((await view()).alarms).toEqual([]);
  });

  it('refuses what cannot be, with what to do next', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf() });
    await expect(bus.request('coordinator', 'apply', { spec: { ...specOf(), interval_ms: 1 } })).rejects.toMatchObject({ code: 'bad-request', message: expect.stringContaining('spec.interval_ms') as string });
    const vms = specOf().vms.slice(1);
    await expect(bus.request('coordinator', 'apply', { spec: specOf({ vms }) })).rejects.toMatchObject({ code: 'not-allowed', message: expect.stringContaining('vms.a') as string });
    await expect(bus.request('coordinator', 'apply', { spec: specOf({ name: 'two', hosts: ['h1', 'h2', 'failover'] }) })).rejects.toMatchObject({ code: 'not-allowed' });
    await expect(bus.request('coordinator', 'stop', { cluster: 'other' })).rejects.toMatchObject({ code: 'not-found' });
    expect(await bus.request('coordinator', 'apply', { spec: specOf({ interval_ms: 80 }) })).toMatchObject({ created: false, changed: ['interval_ms'] });
  });

  it('aborts an epoch that a host missed, and the next commit covers it', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf() });
    const [, h2] = [await agent('h1'), await agent('h2'), await agent('h3')];
    await committed(2);
    h2.mute = { stores: true };
    await until(() => h2.decisions.some(({ type }) => type === 'epoch.aborted'));
    h2.mute = {};
    const before = (await view()).epochs.committed;
    await committed(before + 2);
    const aborted = (await decisions()).flatMap((one) => (one.type === 'epoch.aborted' ? [one.data] : []));
    expect(aborted.every(({ missing }) => missing.join() === 'h2')).toBe(true);
  });

  it('seals a two-phase barrier when every member stands at it, and follows a change of the file from the next epoch on', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf({ barrier: 'two-phase' }) });
    await agent('h1');
    await agent('h2');
    await agent('h3');
    const { epochs } = await committed(4);
    expect(await bus.request('coordinator', 'apply', { spec: specOf() })).toMatchObject({ changed: ['barrier'] });
    await committed(epochs.committed + 4);
    const log = await decisions();
    const changed = log.findIndex(({ type }) => type === 'cluster.changed');
    const seals = log.flatMap((one) => (one.type === 'epoch.sealed' ? [one.data.epoch] : []));
    const commits = log.flatMap((one) => (one.type === 'epoch.committed' ? [one.data.epoch] : []));
    const twoPhase = log.flatMap((one) => (one.type === 'epoch.opened' && one.data.barrier === 'two-phase' ? [one.data.epoch] : []));
    expect(seals).toEqual(twoPhase);
    expect(commits.slice(0, 4)).toEqual(twoPhase.slice(0, 4));
    expect(log.slice(changed).some((one) => one.type === 'epoch.opened' && one.data.barrier === undefined)).toBe(true);
    expect(log.slice(changed).every((one) => one.type !== 'epoch.opened' || one.data.barrier === undefined)).toBe(true);
  });

  it('aborts an epoch whose two-phase barrier a host does not reach, naming it, and goes on when it does (R22)', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf({ barrier: 'two-phase' }) });
    const [, h2] = [await agent('h1'), await agent('h2'), await agent('h3')];
    await committed(2);
    h2.mute = { reaches: true };
    await until(() => h2.decisions.filter(({ type }) => type === 'epoch.aborted').length >= 2);
    h2.mute = {};
    const before = (await view()).epochs.committed;
    await committed(before + 2);
    const aborted = (await decisions()).flatMap((one) => (one.type === 'epoch.aborted' ? [one.data] : []));
    expect(aborted.every(({ missing, reason }) => missing.join() === 'h2' && reason.includes('barrier'))).toBe(true);
  });

  it('hands over: another that starts goes on from the log, the store and the reports', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf() });
    await agent('h1');
    await agent('h2');
    await agent('h3');
    const { epochs } = await committed(3);
    await coordinator.stop();
    coordinator = await begin();
    await committed(epochs.committed + 3);
    const log = await decisions();
    expect(log.filter(({ type }) => type === 'generation.raising')).toEqual([]);
  });

  it('lets two run: every epoch is decided once', async () => {
    await begin();
    await bus.request('coordinator', 'apply', { spec: specOf() });
    await agent('h1');
    await agent('h2');
    await agent('h3');
    await committed(10);
    const decided = (await decisions()).flatMap((one) => (one.type === 'epoch.committed' || one.type === 'epoch.aborted' ? [one.data.epoch] : []));
    expect(decided).toEqual(decided.map((_, i) => i + 1));
  });

  it('suspends and resumes protection as asked, and says so by an alarm (I6)', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf() });
    await agent('h1');
    await agent('h2');
    await agent('h3');
    await committed(2);
    expect(await bus.request('coordinator', 'unprotect', { cluster: 'shop', by: 'olga' })).toMatchObject({ protected: false });
    const alarms = async (wanted: readonly string[]): Promise<View> => {
      for (;;) {
        const now = await view();
        if (now.alarms.map(({ alarm }) => alarm).join() === wanted.join()) return now;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const still = await alarms(['unprotected']);
    await bus.request('coordinator', 'protect', { cluster: 'shop' });
    await committed(still.epochs.committed + 2);
    expect((await alarms([])).protected).toBe(true);
  });

  it('tells what a time travel undoes, asks for a confirmation, and raises onto that cut', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf() });
    await agent('h1');
    await agent('h2');
    await agent('h3');
    await committed(6);
    const request = { cluster: 'shop', generation: 1, epoch: 2 };
    expect(await bus.request('coordinator', 'restore', { ...request, dry_run: true })).toMatchObject({ dry_run: true, cut: { epoch: 2 }, vms: ['a', 'b', 'c'] });
    await expect(bus.request('coordinator', 'restore', request)).rejects.toMatchObject({ code: 'confirmation-needed' });
    await expect(bus.request('coordinator', 'restore', { ...request, epoch: 99_999 })).rejects.toMatchObject({ code: 'not-found' });
    expect(await bus.request('coordinator', 'restore', { ...request, confirm: true, by: 'olga' })).toMatchObject({ dry_run: false, cut: { epoch: 2 } });
    await until(() => coordinator.coordinator.all()[0]?.state.stage === 'raised');
    expect(coordinator.coordinator.all()[0]?.state.tip).toMatchObject({ generation: 1, epoch: 2 });
    expect((await decisions()).slice(-3).map(({ type }) => type)).toEqual(['generation.raising', 'cluster.rewound', 'generation.raised']);
  });

  it('gives the clocks of a new generation the time since the barrier of its basis (R25)', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf({ clock: 'follow' }) });
    await agent('h1');
    await agent('h2');
    await agent('h3');
    await committed(6);
    await bus.request('coordinator', 'restore', { cluster: 'shop', generation: 1, epoch: 2, confirm: true, by: 'olga' });
    await until(() => coordinator.coordinator.all()[0]?.state.stage === 'raised');
    const log = await bus.readDecisions((await view()).id);
    const at_ms = (find: (decision: Decision) => boolean): number => log.find(({ decision }) => find(decision))!.time.getTime();
    const barrier_ms = at_ms(({ type, data }) => type === 'epoch.opened' && data.epoch === 2);
    const { decision } = log.find((stored) => stored.decision.type === 'generation.raised')!;
    const ahead_ms = (decision as Extract<Decision, { type: 'generation.raised' }>).data.ahead_ms;
    // It was decided between the two.
    expect(ahead_ms).toBeGreaterThanOrEqual(at_ms(({ type }) => type === 'generation.raising') - barrier_ms);
    expect(ahead_ms).toBeLessThanOrEqual(at_ms(({ type }) => type === 'generation.raised') - barrier_ms);
  });

  describe('with a damaged object in its store (R18)', () => {
    const damagedCluster = async (data_loss: 'halt' | 'rollback'): Promise<{ cuts: CutRef[]; key: string }> => {
      await bus.request('coordinator', 'apply', { spec: specOf({ policies: { data_loss, recovery_attempts: 3 } }) });
      const [, h2] = [await agent('h1'), await agent('h2'), await agent('h3')];
      await committed(6);
      const cuts = (await decisions()).flatMap((one) => (one.type === 'epoch.committed' ? [one.data.cut] : []));
      // These agents' packs are no packs: whoever looks finds them damaged.
      const key = parseManifest(await ground.store.get(cuts[3]!.key), cuts[3]!.hash).packs.at(-1)!.key;
      const replicaStore = await ground.bus('replica-store');
      await replicaStore.report((await view()).id, 'replica-store', { type: 'object.damaged', data: { key, part: 'page section', reason: 'its checksum differs' } });
      for (;;) {
        const { alarms } = await view();
        if (alarms.some(({ alarm }) => alarm === 'object-damaged')) break;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await expect(bus.request('coordinator', 'restore', { cluster: 'shop', generation: 1, epoch: cuts[4]!.epoch, dry_run: true })).rejects.toMatchObject({
        code: 'conflict', message: expect.stringContaining(key) as string, next: expect.stringContaining(`1-${cuts[2]!.epoch}`) as string,
      });
      h2.kill();
      await h2.sayAnyway({ type: 'host.suspected', data: { host: 'h2', agent: h2.agent, generation: 1, silent_ms: 500, witnesses: [] } }, await ground.bus('failover'));
      return { cuts, key };
    };

    it('says so, and halts a recovery with the newest whole cut, which can be gone back to', async () => {
      const { cuts, key } = await damagedCluster('halt');
      await until(() => coordinator.coordinator.all()[0]?.state.stage === 'halted');
      const { halted } = coordinator.coordinator.all()[0]!.state;
      expect(halted).toMatchObject({ reason: 'data-loss', detail: expect.stringContaining(key) as string });
      expect(halted?.detail).toContain(`virtcft restore --cut 1-${cuts[2]!.epoch}`);
      await bus.request('coordinator', 'restore', { cluster: 'shop', generation: 1, epoch: cuts[2]!.epoch, confirm: true });
      await until(() => coordinator.coordinator.all()[0]?.state.stage === 'raised');
      expect(coordinator.coordinator.all()[0]?.state.tip).toEqual(cuts[2]);
    });

    it('goes back to the newest whole cut where the policy is to, by a decision that says so', async () => {
      const { cuts } = await damagedCluster('rollback');
      await until(() => coordinator.coordinator.all()[0]?.state.stage === 'raised');
      const lost = (await decisions()).flatMap((one) => (one.type === 'cluster.data-lost' ? [one.data] : []));
      expect(lost).toMatchObject([{ basis: cuts[2], policy: 'rollback' }]);
      expect(lost[0]!.released.epoch).toBeGreaterThanOrEqual(cuts[5]!.epoch);
      expect(coordinator.coordinator.all()[0]?.state.tip).toEqual(cuts[2]);
    });
  });

  it('asks the replica store for damage that was found before', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf() });
    await agent('h1');
    await agent('h2');
    await agent('h3');
    await committed(2);
    const key = parseManifest(await ground.store.get((await decisions()).flatMap((one) => (one.type === 'epoch.committed' ? [one.data.cut.key] : []))[0]!)).packs[0]!.key;
    const asked: unknown[] = [];
    (await ground.bus('replica-store')).serve('replica-store', 'damage', (body) => { asked.push(body); return Promise.resolve({ watermark: null, keys: [key] }); });
    await coordinator.stop();
    coordinator = await begin();
    await until(() => coordinator.coordinator.all()[0]?.alarms.has('object-damaged') === true);
    expect(asked).toEqual([{ cluster: coordinator.coordinator.all()[0]?.cluster }]);
  });

  it('stops a cluster and starts it again as a new generation', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf() });
    await agent('h1');
    await agent('h2');
    await agent('h3');
    await committed(2);
    expect(await bus.request('coordinator', 'stop', { cluster: 'shop' })).toMatchObject({ stage: 'stopped' });
    expect(await bus.request('coordinator', 'apply', { spec: specOf() })).toMatchObject({ changed: ['started again'] });
    await until(() => coordinator.coordinator.all()[0]?.state.generation === 2);
  });
});
