import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

import { Fabric } from '@virtcft/native';

import { addressOf, BROADCAST, CLUSTER, frame, INCARNATION, KIND, Lab, lifeOf, Meddler, PORT, sealOf, SECRET, textOf, until } from './fabric-lab.js';

describe('Fabric', () => {
  let lab: Lab;
  afterEach(() => lab.stop());

  test('forwards inside a host, across, and to all', async () => {
    lab = await Lab.of(2, 3);
    lab.guest(0).send(lab.guest(2).mac, 'inside');
    lab.guest(0).send(lab.guest(1).mac, 'across');
    await Promise.all([lab.guest(2).hears('inside'), lab.guest(1).hears('across')]);
    lab.guest(1).send(BROADCAST, 'all');
    await Promise.all([lab.guest(0).hears('all'), lab.guest(2).hears('all')]);
    expect(lab.guest(1).heard).toEqual(['across']);
    await until(() => (lab.fabric(0).stats().peers[0]?.heard_ms ?? Infinity) < 1000);
    const { ports, peers, outputState, timesThrottled, timesFull } = lab.fabric(0).stats();
    expect(ports.map((port) => [port.nic, port.rxFrames, port.rxBytes, port.stopped_ms])).toEqual([[lab.guest(0).mac, 2, 2 * 14 + 'insideacross'.length, 0], [lab.guest(2).mac, 0, 0, 0]]);
    expect(peers).toMatchObject([{ host: 1, rxFrames: 1, rxBytes: 17, txFrames: 1, txBytes: 20, late: 0, early: 0, lost: 0, duplicates: 0, forged: 0 }]);
    expect({ outputState, timesThrottled, timesFull }).toEqual({ outputState: 'free', timesThrottled: 0, timesFull: 0 });
  });

  test('holds frames of a newer colour and says so; delivers and logs older ones to every open cut', async () => {
    lab = await Lab.of(2, 2);
    const { droppedForeign } = lab.fabric(1).stats(); // a hello may have come before the wiring
    await lab.cut(0, 1);
    await lab.cut(0, 2);
    lab.guest(0).send(lab.guest(1).mac, 'early');
    await until(() => lab.fabric(1).stats().earlyHeld === 1);
    await until(() => lab.events[1]?.some((event) => event.kind === 'newer-colour' && event.colour === 3 && event.from === 0) ?? false);
    expect(lab.guest(1).heard).toEqual([]);

    lab.guest(1).send(lab.guest(0).mac, 'late');
    await lab.guest(0).hears('late');
    await lab.cut(1, 2); // one capture covers both epochs
    await lab.guest(1).hears('early');
    for (const epoch of [1, 2]) {
      const state = await lab.fabric(0).channelState(epoch, 5000);
      expect(state.down).toEqual([]);
      expect(state.frames.map(({ nic, frame: bytes }) => [nic, textOf(bytes)])).toEqual([[lab.guest(0).mac, 'late']]);
    }
    expect((await lab.fabric(1).channelState(2, 5000)).frames).toEqual([]);
    await expect(lab.fabric(1).channelState(2, 10)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(lab.fabric(1).stats()).toMatchObject({ colour: 3, droppedQueue: 0, droppedForeign });
  });

  test('what is in flight inside a host at a cut is logged and delivered', async () => {
    lab = await Lab.of(1, 2);
    await lab.fabric(0).hold();
    lab.guest(0).send(lab.guest(1).mac, 'in flight');
    await until(() => lab.fabric(0).stats().ports[0]?.rxFrames === 1);
    await lab.fabric(0).flip(1);
    expect(lab.guest(1).heard).toEqual([]);
    await lab.fabric(0).release();
    await lab.guest(1).hears('in flight');
    const { frames } = await lab.fabric(0).channelState(1, 1000);
    expect(frames.map((each) => textOf(each.frame))).toEqual(['in flight']);
    await lab.fabric(0).inject(frames);
    await until(() => lab.guest(1).heard.length === 2);
    expect(lab.guest(1).heard).toEqual(['in flight', 'in flight']);
  });

  describe('over a network that meddles', () => {
    let meddler: Meddler;
    beforeEach(async () => {
      lab = await Lab.of(2, 2);
      meddler = new Meddler();
      const there = await meddler.start(0, 1, '127.0.0.30');
      const back = await meddler.start(1, 0, '127.0.0.31');
      await lab.fabric(0).setGeneration(lab.wiring({ peers: [{ host: 1, life: lifeOf(1), ...there }] }), null);
      await lab.fabric(1).setGeneration(lab.wiring({ peers: [{ host: 0, life: lifeOf(0), ...back }] }), null);
    });
    afterEach(() => meddler.stop());

    test('markers are repeated until one and its acknowledgement come through', async () => {
      meddler.copies = (kind) => (kind === KIND.marker || kind === KIND.acknowledgement ? 0 : 1);
      await lab.cut(0, 1);
      await lab.cut(1, 1);
      const closed = lab.fabric(0).channelState(1, 30_000);
      await until(() => (meddler.seen.get(KIND.marker) ?? 0) >= 8);
      meddler.copies = () => 1;
      expect(await closed).toEqual({ frames: [], down: [] });
      let before = -1;
      await until(() => {
        const now = meddler.seen.get(KIND.marker) ?? 0;
        const quiet = now === before && (meddler.seen.get(KIND.acknowledgement) ?? 0) > 0;
        before = now;
        return quiet;
      });
    });

    test('duplicates are delivered and logged once', async () => {
      meddler.copies = () => 3;
      await lab.cut(0, 1);
      lab.guest(1).send(lab.guest(0).mac, 'late');
      await lab.guest(0).hears('late');
      await lab.cut(1, 1);
      expect((await lab.fabric(0).channelState(1, 5000)).frames).toHaveLength(1);
      expect(lab.guest(0).heard).toEqual(['late']);
      await until(() => lab.fabric(0).stats().peers[0]?.duplicates === 2 && lab.fabric(0).stats().droppedReplayed > 0);
      expect(lab.fabric(0).stats().peers).toMatchObject([{ rxFrames: 1, late: 1, lost: 0 }]);
    });

    test('a channel with a lost frame closes after the marker; without any marker the peer is down', async () => {
      meddler.copies = (kind) => (kind === KIND.frame ? 0 : 1);
      lab.guest(1).send(lab.guest(0).mac, 'lost');
      await until(() => (meddler.seen.get(KIND.frame) ?? 0) === 1);
      await lab.cut(0, 1);
      await lab.cut(1, 1);
      expect(await lab.fabric(0).channelState(1, 20_000)).toEqual({ frames: [], down: [] });
      meddler.copies = () => 0;
      await lab.cut(0, 2);
      await lab.cut(1, 2);
      expect(await lab.fabric(0).channelState(2, 60)).toEqual({ frames: [], down: [1] });
    });
  });

  test('a datagram of another generation or incarnation is dropped, counted and told', async () => {
    lab = await Lab.of(2, 2);
    await lab.fabric(1).setGeneration(lab.wiring({ generation: 2, incarnation: 'bb'.repeat(16), colour: 7 }), null);
    lab.guest(0).send(lab.guest(1).mac, 'of the past');
    await until(() => lab.fabric(0).stats().ports[0]?.rxFrames === 1 && lab.fabric(1).stats().droppedForeign > 0);
    await until(() => lab.events[0]?.some((event) => event.kind === 'foreign-generation' && event.generation === 2 && event.from === 1) ?? false);
    const waiting = expect(lab.fabric(0).channelState(1, 60_000)).rejects.toMatchObject({ code: 'ESTALE' });
    await lab.fabric(0).setGeneration(lab.wiring({ generation: 2, incarnation: 'bb'.repeat(16), colour: 7 }), null);
    await waiting;
    lab.guest(0).send(lab.guest(1).mac, 'of now');
    await lab.guest(1).hears('of now');
    expect(lab.guest(1).heard).toEqual(['of now']);
    expect(lab.fabric(0).stats()).toMatchObject({ generation: 2, colour: 7 });
  });

  test('a host without the secret, or of a life that was not admitted, says nothing', async () => {
    lab = await Lab.of(2, 2);
    const heard = (): number => lab.fabric(1).stats().peers[0]?.heard_ms ?? 0;
    for (const [change, counted] of [[{ secret: Buffer.alloc(32, 1) }, 'droppedForged'], [{ life: 'ee'.repeat(16) }, 'droppedLife']] as const) {
      lab.fabric(0).close();
      const tunnel = { address: addressOf(0), port: PORT };
      const options = { cluster: CLUSTER, host: 0, life: lifeOf(0), secret: SECRET, tunnel, edge: null, mtu: 1500, heldOutputBytes: 1 << 20, heldOutputAge_ms: 10_000, portQueueFrames: 64 };
      lab.fabrics[0] = new Fabric({ ...options, ...change }, () => {});
      await lab.fabric(0).addPort({ nic: lab.guest(0).mac, path: lab.guest(0).port, peerPath: lab.guest(0).path });
      await lab.fabric(0).setGeneration(lab.wiring({ colour: 9 }), null);
      lab.guest(0).send(lab.guest(1).mac, 'let me in');
      await until(() => lab.fabric(1).stats()[counted] > 5 && heard() > 200);
    }
    expect(lab.guest(1).heard).toEqual([]);
    expect(lab.events[1]).toEqual([]);
    expect(lab.fabric(1).stats().peers).toMatchObject([{ rxFrames: 0 }]);
  });

  test('carries jumbo frames, from the generation on that says so', async () => {
    lab = await Lab.of(2, 2);
    lab.guest(0).send(lab.guest(1).mac, 'small '.repeat(251));
    await until(() => lab.fabric(0).stats().ports[0]?.dropped === 1);
    const next = lab.wiring({ generation: 2, incarnation: 'bb'.repeat(16), mtu: 9000 });
    await Promise.all(lab.fabrics.map((fabric) => fabric.setGeneration(next, null)));
    const text = 'jumbo '.repeat(1500);
    lab.guest(0).send(lab.guest(1).mac, text);
    lab.guest(1).send(BROADCAST, text);
    await Promise.all([lab.guest(1).hears(text), lab.guest(0).hears(text)]);
  });

  test('speaks the documented bytes', async () => {
    lab = await Lab.of(1, 1);
    const peer = createSocket('udp4');
    const seen: Buffer[] = [];
    peer.on('message', (message) => seen.push(message));
    peer.bind(PORT, '127.0.0.40');
    await once(peer, 'listening');
    const macs = [{ mac: lab.guest(0).mac, host: 0 }, { mac: '52:54:00:00:00:99', host: 1 }];
    const wiring = lab.wiring({ generation: 0x0102, colour: 0x0304, peers: [{ host: 1, life: lifeOf(1), address: '127.0.0.40', port: PORT }], macs });
    await lab.fabric(0).setGeneration(wiring, null);
    lab.guest(0).send('52:54:00:00:00:99', 'hi');
    const first = (kind: number) => seen.find((bytes) => bytes[5] === kind);
    await until(() => first(KIND.frame) !== undefined);
    await lab.fabric(0).flip(0x0304);
    await until(() => first(KIND.marker) !== undefined && first(KIND.hello) !== undefined);
    peer.close();
    // docs/formats/tunnel.md; the session is random, and so the MAC.
    const golden = (kind: string, colour: string, sequence: string, body: string) =>
      `5643465402${kind}0001${CLUSTER}${INCARNATION}${lifeOf(0)}0000000000000102${'s'.repeat(16)}000000000000${colour}000000000000${sequence}${body}${'m'.repeat(32)}`;
    const masked = (bytes: Buffer | undefined) => bytes?.toString('hex').replace(/^(.{128}).{16}(.*).{32}$/, `$1${'s'.repeat(16)}$2${'m'.repeat(32)}`);
    expect(masked(first(KIND.frame))).toBe(golden('01', '0304', '0001', '525400000099525400000000' + '88b5' + '6869'));
    expect(masked(first(KIND.marker))).toBe(golden('02', '0305', '0001', '0000000000000304'));
    expect(masked(first(KIND.hello))).toBe(golden('04', '0304', '0001', ''));
    for (const bytes of seen) expect(bytes.subarray(-16).toString('hex')).toBe(sealOf(bytes.subarray(0, -16)));
  });

  test('a hostile network cannot harm it', async () => {
    lab = await Lab.of(2, 2);
    const socket = createSocket('udp4');
    const good = Buffer.alloc(120);
    good.write('VCFT', 0);
    good.writeUInt8(2, 4);
    Buffer.from(CLUSTER, 'hex').copy(good, 8);
    Buffer.from(INCARNATION, 'hex').copy(good, 24);
    good.writeBigUInt64BE(1n, 56);
    for (let i = 0; i < 3000; i++) {
      const bytes = Buffer.from(good);
      bytes.writeUInt8(i % 6, 5);
      for (let n = 0; n < i % 4; n++) bytes.writeUInt8((i * 31 + n * 17) % 256, (i * 7 + n * 41) % bytes.length);
      socket.send(bytes.subarray(0, i % (bytes.length + 1)), PORT, addressOf(1));
      if (i % 100 === 0) await delay(1);
    }
    await until(() => lab.fabric(1).stats().droppedForeign + lab.fabric(1).stats().droppedForged > 1000);
    socket.close();
    const next = lab.wiring({ generation: 2, incarnation: 'bb'.repeat(16) });
    await Promise.all([lab.fabric(0).setGeneration(next, null), lab.fabric(1).setGeneration(next, null)]);
    lab.guest(0).send(lab.guest(1).mac, 'unharmed');
    await lab.guest(1).hears('unharmed');
  });

  test('refuses what it cannot do, by code', async () => {
    lab = await Lab.of(1, 1);
    const fabric = lab.fabric(0);
    const port = { nic: lab.guest(0).mac, path: lab.guest(0).port, peerPath: lab.guest(0).path };
    await expect(fabric.addPort(port)).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(fabric.addPort({ ...port, nic: '52:54:00:00:00:77', path: import.meta.filename })).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(fabric.addPort({ ...port, nic: '52:54:00:00:00:77', path: `/${'x'.repeat(120)}` })).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
    await expect(fabric.addPort({ ...port, nic: 'nonsense' })).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(fabric.removePort('52:54:00:00:00:77')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(fabric.inject([{ nic: '52:54:00:00:00:77', frame: frame(BROADCAST, port.nic, 'x') }])).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(fabric.channelState(9, 5)).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    const options = { cluster: CLUSTER, host: 5, life: lifeOf(5), secret: SECRET, edge: null, mtu: 1500, heldOutputBytes: 1 << 20, heldOutputAge_ms: 10_000, portQueueFrames: 64 };
    const tunnel = { address: addressOf(5), port: PORT };
    expect(() => new Fabric({ ...options, tunnel, secret: Buffer.alloc(31) }, () => {})).toThrow(expect.objectContaining({ code: 'EINVAL', message: 'secret must be a Buffer of 32 to 4096 bytes' }));
    expect(() => new Fabric({ ...options, tunnel, life: 'nobody' }, () => {})).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    await expect(fabric.addPort({ nic: '52:54:00:00:00:77', tap: '' })).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(fabric.addPort({ nic: '52:54:00:00:00:77', tap: 'lo' })).rejects.toMatchObject({ code: 'EINVAL' });
    expect(() => new Fabric({ ...options, tunnel: { address: addressOf(0), port: PORT } }, () => {})).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    expect(() => new Fabric({ ...options, tunnel: { address: addressOf(5), port: PORT }, edge: 'no-such-if' }, () => {})).toThrow(expect.objectContaining({ code: 'ENODEV' }));
    const waiting = expect(fabric.channelState(9, 60_000)).rejects.toMatchObject({ code: 'ECLOSED' });
    fabric.close();
    fabric.close();
    await waiting;
    await expect(fabric.hold()).rejects.toMatchObject({ code: 'ECLOSED' });
  });
});
