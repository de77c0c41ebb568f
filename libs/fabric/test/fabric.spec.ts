import { setTimeout as wait } from 'node:timers/promises';
import { FabricError, openFabric } from '../src/index.js';
import type { FabricEvent } from '../src/index.js';

const INCARNATION = 'cd'.repeat(16);
const lifeOf = (host: number) => `0000000${host}-0000-4000-8000-000000000000`;
const settings = (host: number) => ({
  life: lifeOf(host), secret: Buffer.alloc(32, 7),
  cluster: '01234567-89ab-4def-8123-456789abcdef', host, tunnel: { address: `127.0.0.${60 + host}`, port: 47_290 }, edge: null,
});
const wiring = (generation: number) => ({
  generation, incarnation: INCARNATION, colour: 5, macs: [],
  peers: [0, 1].map((host) => ({ host, life: lifeOf(host), address: `127.0.0.${60 + host}`, port: 47_290 })),
});

describe('a fabric', () => {
  test('goes through a cut with its peer, and a change of generation', async () => {
    const events: FabricEvent[] = [];
    using one = openFabric(settings(0), () => undefined);
    using two = openFabric(settings(1), (more) => events.push(...more));
    await Promise.all([one.setGeneration(wiring(1), null), two.setGeneration(wiring(1), null)]);
    const closed = one.channelState(5, 20_000);
    await one.hold();
    await one.flip(5);
    await one.release();
    expect(one.stats()).toMatchObject({ colour: 6, generation: 1 });
    // The other hears of it by the frames' colour, or by the marker, which is repeated.
    while (!events.some(({ kind }) => kind === 'newer-colour')) await wait(5);
    expect(events).toContainEqual({ kind: 'newer-colour', colour: 6, from: 0 });
    await two.flip(5);
    expect(await closed).toEqual({ frames: [], down: [] });
    expect(await two.channelState(5, 20_000)).toEqual({ frames: [], down: [] });
    expect(await one.releaseOutput(5)).toEqual({ frames: 0, bytes: 0, oldest_us: 0 });

    const waiting = expect(one.channelState(9, 20_000)).rejects.toMatchObject({ name: 'FabricError', code: 'ESTALE' });
    await one.setGeneration(wiring(2), 6);
    await waiting;
    expect(one.stats()).toMatchObject({ colour: 5, generation: 2 });
  });

  test('names what went wrong by code', async () => {
    const one = openFabric(settings(0), () => undefined);
    expect(() => openFabric(settings(0), () => undefined)).toThrow(FabricError);
    expect(() => openFabric(settings(0), () => undefined)).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    await expect(one.removePort('52:54:00:00:00:01')).rejects.toMatchObject({ name: 'FabricError', code: 'ENOENT' });
    await expect(one.flip(0)).rejects.toMatchObject({ name: 'FabricError', code: 'EINVAL' });
    one.close();
    await expect(one.hold()).rejects.toMatchObject({ name: 'FabricError', code: 'ECLOSED' });
    expect(() => one.stats()).toThrow(expect.objectContaining({ name: 'FabricError', code: 'ECLOSED' }));
  });
});
