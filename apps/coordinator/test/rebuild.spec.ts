import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bus } from '@virtcft/bus';
import { baseKey, encodeGeneration, encodeManifest, parseDefinition, parseManifest } from '@virtcft/checkpoint';
import type { CutRef, Decision } from '@virtcft/events';
import { limits } from '@virtcft/protocol';
import { startCoordinator, type RunningCoordinator } from '../src/index.js';
import { Ground, specOf, until, VoiceOfAgent } from './agents.js';

interface Answer { readonly generation: number; readonly highest: number; readonly tip: CutRef | null; readonly void: readonly CutRef[]; readonly incomplete: readonly string[] }

describe('a log that is lost', () => {
  let ground: Ground;
  let bus: Bus;
  let own: Bus;
  let running: RunningCoordinator;
  let agents: VoiceOfAgent[] = [];
  let cluster: string;
  const failures: unknown[] = [];

  const begin = async (): Promise<void> => {
    bus = await ground.bus('operator');
    await bus.provisionStreams();
    own = await ground.bus('coordinator');
    running = await startCoordinator(own, ground.store, (error) => failures.push(error));
  };
  const hosts = async (seen?: { cluster: string; generation: number }): Promise<void> => {
    agents = [];
    for (const host of ['h1', 'h2', 'h3']) {
      const made = new VoiceOfAgent(host, await ground.bus(`host-agent:${host}`), ground.store, () => agents);
      agents.push(await made.begin(host === 'h1' ? seen : undefined));
    }
  };
  const state = () => running.coordinator.cluster(cluster).state;
  const decisions = async (): Promise<Decision[]> => (await bus.readDecisions(cluster)).map(({ decision }) => decision);
  /** The server is killed, its files are removed; everybody who followed it ends, as its supervisor sees to. */
  const loseLog = async (): Promise<void> => {
    for (const agent of agents) agent.kill();
    await running.stop();
    await own.close();
    await ground.server.kill();
    await rm(join(ground.server.folder, 'store'), { recursive: true });
    await ground.server.run();
    await begin();
  };
  const definitions = async (): Promise<string[]> => {
    const keys: string[] = [];
    for await (const { key } of ground.store.list(`${cluster}/definitions/`)) keys.push(key);
    return keys;
  };

  beforeEach(async () => {
    ground = await Ground.open();
    await begin();
    ({ cluster } = await bus.request<{ cluster: string }>('coordinator', 'apply', { spec: specOf() }));
    await hosts();
    await until(() => state().epochs.committed >= 4);
  });
  afterEach(async () => {
    for (const agent of agents) agent.kill();
    await running.stop();
    await ground.close();
    failures.splice(0);
  });

  it('is made anew from the store: found, said, confirmed, and the cluster recovers to its newest cut above every generation that anybody knows', async () => {
    await loseLog();
    const before = await bus.request<Answer>('coordinator', 'rebuild', { dry_run: true });
    expect(before).toMatchObject({ generation: 1, highest: 1, incomplete: [], void: [] });
    await expect(bus.request('coordinator', 'rebuild', {})).rejects.toMatchObject({ code: 'confirmation-needed' });
    expect((await decisions())).toEqual([]);
    await hosts({ cluster, generation: 5 });
    await until(() => running.coordinator.context.offers.offers().length === 3);
    const done = await bus.request<Answer>('coordinator', 'rebuild', { cluster: 'shop', confirm: true, by: 'olga' });
    expect(done).toMatchObject({ tip: before.tip, highest: 5 });
    await until(() => state().stage === 'raised');
    const log = await decisions();
    expect(log[0]).toMatchObject({ type: 'cluster.rebuilt', data: { by: 'olga', generation: 1, highest: 5, tip: before.tip } });
    expect(log.find(({ type }) => type === 'generation.raised')).toMatchObject({ data: { generation: 6, basis: before.tip } });
    expect(state().epoch).toBeGreaterThan((before.tip?.epoch ?? 0) + limits.rebuilt_epochs - 1);
    await expect(bus.request('coordinator', 'rebuild', { cluster: 'shop', dry_run: true })).rejects.toMatchObject({ code: 'not-allowed' });
    // A cut of before is found in the store.
    const older = { cluster: 'shop', generation: 1, epoch: parseManifest(await ground.store.get(before.tip!.key)).epoch - 2 };
    expect(await bus.request('coordinator', 'restore', { ...older, dry_run: true })).toMatchObject({ cut: { generation: 1, epoch: older.epoch }, lost: { seconds: null } });
    await expect(bus.request('coordinator', 'restore', { ...older, epoch: 99_999, dry_run: true })).rejects.toMatchObject({ code: 'not-found' });
  });

  it('takes the newest generation record, tells of void and incomplete cuts, and restores neither', async () => {
    await bus.request('coordinator', 'stop', { cluster: 'shop' });
    const tip = state().tip!;
    const manifest = parseManifest(await ground.store.get(tip.key), tip.hash);
    // Generation 2 began at the tip; then somebody of generation 1 put a manifest, and one of generation 2 lacks its pack.
    const record = encodeGeneration({ format: 'virtcft/generation/1', cluster, generation: 2, incarnation: 'ab'.repeat(16), basis: tip, previous: manifest.incarnation });
    await ground.store.put(record.key, record.bytes);
    const late = encodeManifest({ ...manifest, epoch: manifest.epoch + 7, previous: tip.hash });
    await ground.store.put(late.key, late.bytes);
    const hash = 'cd'.repeat(32);
    const bare = encodeManifest({ ...manifest, generation: 2, incarnation: 'ab'.repeat(16), epoch: manifest.epoch + 2, previous: tip.hash, packs: [{ host: 'h1', epoch: manifest.epoch + 2, hash, bytes: 99, key: `${cluster}/packs/0000000002-${String(manifest.epoch + 2).padStart(12, '0')}-h1-${hash}` }] });
    await ground.store.put(bare.key, bare.bytes);
    await loseLog();
    const found = await bus.request<Answer>('coordinator', 'rebuild', { dry_run: true });
    expect(found).toMatchObject({ generation: 2, tip, stopped: true, incomplete: [bare.key] });
    // The stop may have overtaken a real one as well.
    expect(found.void).toContainEqual({ key: late.key, hash: late.hash, generation: 1, epoch: manifest.epoch + 7 });
    await bus.request('coordinator', 'rebuild', { confirm: true });
    expect(state()).toMatchObject({ stage: 'stopped', tip });
  });

  it('goes on behind what a retention let go, where bases stand for it (R23)', async () => {
    await bus.request('coordinator', 'stop', { cluster: 'shop' });
    const manifest = parseManifest(await ground.store.get(state().tip!.key), state().tip!.hash);
    const removed = 'ef'.repeat(32);
    const vms = Object.fromEntries(Object.entries(manifest.vms).map(([vm, of]) => [vm, { ...of, kind: 'delta' as const }]));
    const behind = encodeManifest({ ...manifest, epoch: manifest.epoch + 9, previous: removed, vms });
    await ground.store.put(behind.key, behind.bytes);
    await loseLog();
    const found = () => bus.request<Answer>('coordinator', 'rebuild', { dry_run: true });
    // The stop may have overtaken a cut, which is adopted.
    const { tip } = await found();
    expect(tip?.epoch).toBeLessThan(manifest.epoch + 9);
    const names = Object.keys(vms);
    for (const [index, vm] of names.entries()) {
      await ground.store.put(baseKey({ cluster, generation: 1, epoch: manifest.epoch + 8, vm, cut: index === 0 ? behind.hash : removed, hash: '12'.repeat(32) }), Buffer.from('a base'));
      expect((await found()).tip).toEqual(index < names.length - 1 ? tip : { key: behind.key, hash: behind.hash, generation: 1, epoch: manifest.epoch + 9 });
    }
  });

  it('holds no change of the file, of protection or of pins that is not in the store before the next commit (R11, R23)', async () => {
    await bus.request('coordinator', 'apply', { spec: specOf({ interval_ms: 60 }) });
    const pinned = await bus.request<{ name: string }>('coordinator', 'pin', { cluster: 'shop', name: 'before-upgrade', generation: 1, epoch: 2, by: 'olga' });
    expect(pinned).toMatchObject({ name: 'before-upgrade', cut: { generation: 1, epoch: 2 } });
    const { committed } = state().epochs;
    await until(() => state().epochs.committed > committed);
    await bus.request('coordinator', 'unprotect', { cluster: 'shop', by: 'olga' });
    const { definition } = state();
    let newest = '';
    while (!newest.includes(`/definitions/${String(definition).padStart(10, '0')}-`)) {
      newest = (await definitions()).at(-1) ?? '';
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const stored = parseDefinition(await ground.store.get(newest), newest);
    expect(stored).toMatchObject({ version: definition, protected: false, spec: { interval_ms: 60 }, pins: [{ name: 'before-upgrade', by: 'olga', cut: { epoch: 2 } }] });
    await loseLog();
    // What left since is lost, and that is a decision of its own.
    await hosts();
    await until(() => running.coordinator.context.offers.offers().length === 3);
    await bus.request('coordinator', 'rebuild', { confirm: true });
    await until(() => state().stage === 'raised');
    expect((await decisions()).map(({ type }) => type).filter((type) => type.startsWith('cluster.'))).toEqual(['cluster.rebuilt', 'cluster.rewound']);
    expect(state()).toMatchObject({ protected: false, pins: { 'before-upgrade': { by: 'olga' } } });
    await expect(bus.request('coordinator', 'unpin', { cluster: 'shop', name: 'other' })).rejects.toMatchObject({ code: 'not-found' });
    await bus.request('coordinator', 'unpin', { cluster: 'shop', name: 'before-upgrade' });
    expect(state().pins).toEqual({});
  });

  it('with two definitions of one version is an operator\'s to decide, and one that is damaged is not used', async () => {
    const key = (await definitions()).at(-1)!;
    const bytes = await ground.store.get(key);
    const rival = `${cluster}/definitions/${key.slice(-75, -65)}-${'0'.repeat(64)}`;
    await ground.store.put(rival, bytes);
    await loseLog();
    await expect(bus.request('coordinator', 'rebuild', { dry_run: true })).rejects.toMatchObject({ code: 'not-found', next: expect.stringContaining('0'.repeat(64)) as string });
    await ground.store.remove(key);
    await expect(bus.request('coordinator', 'rebuild', { dry_run: true })).rejects.toMatchObject({ code: 'not-found', next: expect.stringContaining('it belongs at') as string });
    await ground.store.put(key, bytes);
    await ground.store.remove(rival);
    expect(await bus.request('coordinator', 'rebuild', { dry_run: true })).toMatchObject({ generation: 1 });
  });
});
