// Rules of the coloured fabric broken on purpose between two real switches: a wire that lies in the header makes a receiver do what a switch without the rule would.
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

import { addressOf, KIND, Lab, lifeOf, PORT, sealOf, until } from './fabric-lab.js';

const COLOUR_AT = 72, GENERATION_AT = 56, INCARNATION_AT = 24, SEAL_BYTES = 16; // docs/formats/tunnel.md
const QUIET_MS = 100; // for what must not come

type Lie = (frame: Buffer, receiver: Buffer) => void;

const colour = (datagram: Buffer): bigint => datagram.readBigUInt64BE(COLOUR_AT);
const honest: Lie = () => undefined;
/** A frame newer than the receiver's own epoch is delivered before the receiver has cut. */
const earlyFrameDelivered: Lie = (frame, receiver) => { if (colour(frame) > colour(receiver)) receiver.copy(frame, COLOUR_AT, COLOUR_AT, COLOUR_AT + 8); };
/** A frame older than the receiver's own epoch is delivered, but not logged with the cut between. */
const lateFrameUnlogged: Lie = (frame, receiver) => { if (colour(frame) < colour(receiver)) receiver.copy(frame, COLOUR_AT, COLOUR_AT, COLOUR_AT + 8); };
/** What a host of an old generation says is heard. */
const oldGenerationAccepted: Lie = (frame, receiver) => {
  if (frame.readBigUInt64BE(GENERATION_AT) === receiver.readBigUInt64BE(GENERATION_AT)) return;
  receiver.copy(frame, INCARNATION_AT, INCARNATION_AT, INCARNATION_AT + 16);
  receiver.copy(frame, GENERATION_AT, GENERATION_AT, GENERATION_AT + 8);
  receiver.copy(frame, COLOUR_AT, COLOUR_AT, COLOUR_AT + 8);
};

/** UDP between hosts 0 and 1 that changes frames by what their receiver said last. */
class LyingWire {
  private readonly sockets: Socket[] = [];
  private readonly said: Buffer[] = [];
  frames = 0;
  constructor(private readonly lie: Lie) {}

  async open(from: 0 | 1): Promise<{ host: number; life: string; address: string; port: number }> {
    const to = from === 0 ? 1 : 0;
    const [address, port] = [`127.0.0.${50 + from}`, PORT + 10 + from];
    const socket = createSocket('udp4');
    this.sockets.push(socket);
    socket.on('message', (datagram) => {
      const receiver = this.said[to];
      this.said[from] = Buffer.from(datagram);
      if (datagram[5] === KIND.frame) {
        if (receiver !== undefined) {
          this.lie(datagram, receiver);
          const sealed = datagram.length - SEAL_BYTES;
          datagram.write(sealOf(datagram.subarray(0, sealed)), sealed, 'hex'); // a liar that holds the secret
        }
        this.frames += 1;
      }
      socket.send(datagram, PORT, addressOf(to));
    });
    socket.bind(port, address);
    await once(socket, 'listening');
    return { host: to, life: lifeOf(to), address, port };
  }

  /** Until this host has said of itself what `holds`. */
  async heardOf(host: 0 | 1, holds: (datagram: Buffer) => boolean): Promise<void> {
    await until(() => { const said = this.said[host]; return said !== undefined && holds(said); });
  }

  close(): void { for (const socket of this.sockets) socket.close(); }
}

/** One cut of two hosts with a message on each side of it both ways, then a recovery that one host does not hear of. What was wrong, by rule. */
async function wrongs(lie: Lie): Promise<string[]> {
  const lab = await Lab.of(2, 2);
  const wire = new LyingWire(lie);
  const found: string[] = [];
  try {
    const peers = [await wire.open(0), await wire.open(1)] as const;
    for (const host of [0, 1] as const) await lab.fabric(host).setGeneration(lab.wiring({ peers: [peers[host]] }), null);
    const [a, b] = [lab.guest(0), lab.guest(1)];
    await wire.heardOf(0, (said) => colour(said) === 1n);
    await wire.heardOf(1, (said) => colour(said) === 1n);

    await lab.cut(0, 1);
    await wire.heardOf(0, (said) => colour(said) === 2n);
    a.send(b.mac, 'sent after the cut of its sender');
    b.send(a.mac, 'sent before the cut of its sender');
    await a.hears('sent before the cut of its sender');
    await until(() => wire.frames === 2);
    await until(() => lab.fabric(1).stats().earlyHeld === 1 || b.heard.length === 1);
    // Received before the own cut, sent after the sender's: no cut may hold that.
    if (b.heard.includes('sent after the cut of its sender')) found.push('orphan');
    await lab.cut(1, 1);
    await b.hears('sent after the cut of its sender');
    const { frames } = await lab.fabric(0).channelState(1, 20_000);
    await lab.fabric(1).channelState(1, 20_000);
    // Sent before the cut, received after it: what is not in the channel state is gone after a restore.
    if (!frames.some(({ frame }) => frame.includes('sent before the cut of its sender'))) found.push('lost');

    await lab.fabric(1).setGeneration(lab.wiring({ peers: [peers[1]], generation: 2, incarnation: 'bb'.repeat(16), colour: 7 }), null);
    await wire.heardOf(1, (said) => colour(said) === 7n);
    const before = wire.frames;
    a.send(b.mac, 'of the old generation');
    await until(() => wire.frames > before);
    await delay(QUIET_MS);
    if (b.heard.includes('of the old generation')) found.push('two voices');
    return found;
  } finally {
    wire.close();
    await lab.stop();
  }
}

describe('a rule of the fabric that is broken between real switches is found', () => {
  test.each<[string, Lie, string[]]>([
    ['none: the wire is honest', honest, []],
    ['early-frame-delivered', earlyFrameDelivered, ['orphan']],
    ['late-frame-unlogged', lateFrameUnlogged, ['lost']],
    ['old-generation-accepted', oldGenerationAccepted, ['two voices']],
  ])('%s', async (_, lie, expected) => {
    expect(await wrongs(lie)).toEqual(expected);
  });
});
