import type { Bus } from '@virtcft/bus';
import { startCoordinator, type RunningCoordinator } from '@virtcft/coordinator';
import type { ClusterSpec, Decision } from '@virtcft/events';
import type { ClusterState } from '@virtcft/protocol';
import { Ground, specOf, until, VoiceOfAgent } from '../../apps/coordinator/test/agents.js';
import { startFailover } from '@virtcft/failover';

describe('coordinator and failover', () => {
  let ground: Ground;
  let bus: Bus;
  let coordinator: RunningCoordinator;
  let agents: VoiceOfAgent[];
  const failures: unknown[] = [];
  const fail = (error: unknown): void => { failures.push(error); };

  const agent = async (host: string, memory_mib?: number): Promise<VoiceOfAgent> => {
    const made = await new VoiceOfAgent(host, await ground.bus(`host-agent:${host}`), ground.store, () => agents, memory_mib).begin();
    ground.onClose(() => made.kill());
    agents.push(made);
    return made;
  };
  const state = (): ClusterState => coordinator.coordinator.all()[0]!.state;
  const id = (): string => coordinator.coordinator.all()[0]!.cluster;
  const decisions = async (): Promise<Decision[]> => (await bus.readDecisions(id())).map(({ decision }) => decision);
  /** In this generation, or a later one: an append whose answer got lost on a busy machine is taken over by another raise. */
  const protectedAgain = (generation: number): Promise<void> => until(() => state().generation >= generation && state().stage === 'running' && state().tip?.generation === state().generation);
  const start = async (spec: ClusterSpec = specOf(), memory_mib?: number): Promise<VoiceOfAgent[]> => {
    const made = await Promise.all(spec.hosts.map((host) => agent(host, memory_mib)));
    await bus.request('coordinator', 'apply', { spec });
    await until(() => coordinator.coordinator.all().length === 1 && state().tip !== null);
    return made;
  };
  const watch = async (): Promise<void> => {
    const failover = await startFailover(await ground.bus('failover'), fail);
    ground.onClose(() => failover.stop());
  };

  beforeEach(async () => {
    ground = await Ground.open();
    bus = await ground.bus('operator');
    await bus.provisionStreams({ storage: 'file' });
    agents = [];
    coordinator = await startCoordinator(await ground.bus('coordinator'), ground.store, fail);
    ground.onClose(() => coordinator.stop());
  });

  afterEach(async () => {
    await ground.close();
    expect(failures.splice(0)).toEqual([]);
  });

  it('recover from the loss of a host by themselves, and protect the cluster again (I6)', async () => {
    const [, h2] = await start();
    await watch();
    const before = state().tip!.epoch;
    await until(() => state().tip!.epoch > before + 3);
    h2!.kill();
    await protectedAgain(2);
    expect(state().placement).toEqual({ a: 'h1', b: 'h1', c: 'h3' });
    const log = await decisions();
    const raising = log.findIndex(({ type }) => type === 'generation.raising');
    const types = log.slice(raising).map(({ type }) => type).filter((type) => !type.startsWith('epoch.') && type !== 'host.admitted');
    expect(types).toEqual(['generation.raising', 'generation.raised', 'recovery.planned', 'recovery.resumed', 'recovery.completed']);
    expect(log[raising]).toMatchObject({ data: { generation: 2, cause: { kind: 'host-lost', lost: [{ host: 'h2' }], vms: ['c'] } } });
  });

  it('recover a two-phase cluster whose barrier a dead host never reaches', async () => {
    const [, h2] = await start(specOf({ barrier: 'two-phase' }));
    await watch();
    const before = state().tip!.epoch;
    await until(() => state().tip!.epoch > before + 3);
    h2!.kill();
    await protectedAgain(2);
    const after = state().tip!.epoch;
    await until(() => state().tip!.epoch > after + 3);
    const log = await decisions();
    const seals = log.flatMap((one) => (one.type === 'epoch.sealed' ? [one.data.epoch] : []));
    for (const one of log) if (one.type === 'epoch.committed') expect(seals).toContain(one.data.epoch);
  });

  it('raise nothing for a host that is off the bus for less than the limit while its peers hear it (R21)', async () => {
    const [, h2] = await start();
    await watch();
    await new Promise((resolve) => setTimeout(resolve, 300));
    h2!.mute.beats = true;
    await new Promise((resolve) => setTimeout(resolve, 900));
    h2!.mute.beats = false;
    const before = state().tip!.epoch;
    await until(() => state().tip!.epoch > before + 3);
    expect((await decisions()).filter(({ type }) => type === 'generation.raising')).toEqual([]);
  });

  it('raise nothing for an outage of the bus, and go on after it (R21)', async () => {
    await start();
    await watch();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await ground.server.kill();
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    await ground.server.run();
    const before = state().tip!.epoch;
    await until(() => state().tip!.epoch > before + 5);
    expect((await decisions()).filter(({ type }) => type === 'generation.raising')).toEqual([]);
  });

  it('halt without room, and go on when the host comes back empty', async () => {
    const [, h2] = await start(specOf({ hosts: ['h1', 'h2'] }), 800);
    await watch();
    const { number } = state().hosts['h2']!;
    h2!.kill();
    await until(() => state().halted?.reason === 'no-room');
    agents = agents.filter((one) => one !== h2);
    await agent('h2', 800);
    await protectedAgain(2);
    expect(state().placement['c']).toBe('h2');
    expect(state().hosts['h2']).toMatchObject({ number, status: 'admitted' });
  });

  it('recover when an agent started again faster than its silence was noticed (R3)', async () => {
    const [, h2] = await start();
    await watch();
    h2!.kill();
    agents = agents.filter((one) => one !== h2);
    const again = await agent('h2');
    await protectedAgain(2);
    expect(state().hosts['h2']).toMatchObject({ agent: again.agent, status: 'admitted' });
    expect((await decisions()).find(({ type }) => type === 'generation.raising')).toMatchObject({ data: { cause: { detail: 'its agent started again' } } });
  });

  it('raise again onto the same basis when a load fails, and halt after the allowed attempts (R17)', async () => {
    const [h1, h2, h3] = await start();
    await watch();
    h3!.mute.loads = true;
    h2!.kill();
    await until(() => state().stage === 'planned');
    const basis = state().basis;
    for (let generation = 2; generation <= 4; generation++) {
      await until(() => state().generation === generation && state().stage === 'planned');
      expect(state().basis).toEqual(basis);
      await h3!.say({ type: 'recovery.failed', data: { host: 'h3', agent: h3!.agent, generation, stage: 'load', reason: 'no memory' } });
    }
    await until(() => state().halted !== null);
    expect(state().halted?.reason).toBe('recovery-attempts');
    expect(h1!.orders.filter(({ kind }) => kind === 'resume')).toEqual([]);
  });

  it('take over a raise whose author died, above its number (R16)', async () => {
    await start();
    await watch();
    for (;;) {
      const log = await bus.readDecisions(id());
      const last = log.at(-1)!;
      const raising: Decision = { type: 'generation.raising', data: { generation: 2, cause: { kind: 'vm-failed', lost: [], vms: ['a'], detail: 'by a coordinator that dies now', cut: null } } };
      const appended = await bus.append(id(), raising, { expected: last.sequence, previous: last.hash }).then(() => true, (error: unknown) => {
        if ((error as Error).name !== 'AppendConflict') throw error;
        return false;
      });
      if (appended) break;
    }
    await protectedAgain(3);
    expect((await decisions()).find(({ type }) => type === 'generation.raised')).toMatchObject({ data: { generation: expect.any(Number) as number } });
    expect((await decisions()).filter((one) => one.type === 'generation.raised' && one.data.generation === 2)).toEqual([]);
  });

  it('go back in time as asked, and protect from there on', async () => {
    await start();
    await watch();
    await until(() => state().tip!.epoch >= 6);
    await bus.request('coordinator', 'restore', { cluster: 'shop', generation: 1, epoch: 3, confirm: true, by: 'olga' });
    await protectedAgain(2);
    expect((await decisions()).find(({ type }) => type === 'generation.raised')).toMatchObject({ data: { basis: { generation: 1, epoch: 3 } } });
  });

  it('survive the loss of a second host while the first is recovered from', async () => {
    const [, h2, h3] = await start(specOf({ hosts: ['h1', 'h2', 'h3', 'h4'] }));
    await watch();
    h3!.mute.loads = true;
    h2!.kill();
    await until(() => state().stage === 'planned');
    const target = state().placement['c'];
    const victim = agents.find(({ host }) => host === target)!;
    victim.mute.loads = true;
    victim.kill();
    await until(() => state().stage === 'running' && state().generation >= 2 && state().tip?.generation === state().generation);
    expect(Object.values(state().placement)).not.toContain('h2');
    expect(state().placement['c']).not.toBe(target === 'h3' ? 'h3' : 'h2');
  });
});
