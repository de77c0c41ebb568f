import { createSocket, type Socket } from 'node:dgram';
import { createServer, connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { CALM, DatagramRelay, StreamRelay } from '@virtcft/lab';
import { fate } from '../src/relay/weather.js';

const PORT = 24_789;
const HOSTS = ['a', 'b', 'c'].map((name, i) => ({ name, real: `127.1.0.${i + 1}`, shown: `127.1.1.${i + 1}` }));

describe('the relay between tunnels', () => {
  let relay: DatagramRelay;
  let sockets: Socket[];
  let heard: { at: string; from: string; text: string }[];

  beforeEach(async () => {
    heard = [];
    relay = await DatagramRelay.open(HOSTS, PORT, () => 0.5);
    sockets = await Promise.all(HOSTS.map(async ({ name, real }) => {
      const socket = createSocket('udp4');
      socket.on('message', (text, from) => { heard.push({ at: name, from: from.address, text: text.toString() }); });
      await new Promise<void>((resolve) => { socket.bind(PORT, real, resolve); });
      return socket;
    }));
  });
  afterEach(() => {
    relay.close();
    for (const socket of sockets) socket.close();
  });

  const say = (from: number, to: number, text: string): void => { sockets[from]?.send(text, PORT, HOSTS[to]?.shown); };
  const came = async (count: number): Promise<void> => { while (heard.length < count) await sleep(5); };

  it('carries what hosts send each other, under the address by which the sender is known', async () => {
    say(0, 1, 'hello');
    await came(1);
    say(1, 0, 'hello back');
    await came(2);
    expect(heard).toEqual([{ at: 'b', from: HOSTS[0]?.shown, text: 'hello' }, { at: 'a', from: HOSTS[1]?.shown, text: 'hello back' }]);
  });

  it('cuts one way and leaves the other', async () => {
    relay.set('a', 'b', { ...CALM, cut: true });
    say(0, 1, 'never');
    say(1, 0, 'one way');
    say(0, 2, 'another');
    await came(2);
    await sleep(50);
    expect(heard.map(({ text }) => text).toSorted()).toEqual(['another', 'one way']);
    relay.set('a', 'b', CALM);
    say(0, 1, 'again');
    await came(3);
    expect(relay.status()).toEqual({ carried: 3, lost: 1 });
  });

  it('a datagram that waits is overtaken by one that does not', async () => {
    relay.set('a', 'b', { ...CALM, delay_ms: 100 });
    say(0, 1, 'first');
    await sleep(20);
    relay.set('a', 'b', CALM);
    say(0, 1, 'second');
    await came(2);
    expect(heard.map(({ text }) => text)).toEqual(['second', 'first']);
  });
});

it('loss and jitter are a matter of chance, a cut is not', () => {
  const weather = { ...CALM, delay_ms: 10, jitter_ms: 20, loss_percent: 30 };
  expect(fate(weather, () => 0.29)).toBeNull();
  expect(fate(weather, () => 0.5)).toBe(20);
  expect(fate({ ...weather, cut: true }, () => 0.9)).toBeNull();
});

it('a stream comes late and in order from behind the relay, at once to it', async () => {
  const behind = createServer((socket) => { socket.on('data', (data) => { socket.write(data); }); });
  await new Promise<void>((resolve) => { behind.listen(24_790, '127.0.0.1', resolve); });
  const relay = await StreamRelay.open({ host: '127.0.0.1', port: 24_791 }, { host: '127.0.0.1', port: 24_790 }, 300);
  let [text, first_ms] = ['', 0];
  const began_ms = performance.now();
  const socket = connect(24_791, '127.0.0.1').on('data', (data: Buffer) => { first_ms ||= performance.now() - began_ms; text += data.toString(); });
  socket.write('one ');
  await sleep(50);
  relay.delay_ms = 0;
  socket.write('two');
  await new Promise<void>((resolve) => { socket.on('data', () => { if (text === 'one two') resolve(); }); });
  expect(first_ms).toBeGreaterThanOrEqual(299);
  socket.destroy();
  relay.close();
  await new Promise((resolve) => { behind.close(resolve); });
});
