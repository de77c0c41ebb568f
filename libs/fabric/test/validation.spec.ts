import { FabricError, LIMITS } from '../src/index.js';
import { fabricOptions, generationWiring, identity, ipOrNull, mac, port, timeout } from '../src/validation.js';

const life = '0123456789ab4def8123456789abcdef';
const secret = Buffer.alloc(32, 7);
const settings = { cluster: '01234567-89ab-4def-8123-456789abcdef', life, secret, host: 3, tunnel: { address: '10.0.0.3', port: 4790 }, edge: null };
const wiring = {
  generation: 1, incarnation: 'ab'.repeat(16), colour: 1,
  peers: [{ host: 0, life, address: '10.0.0.1', port: 4790 }, { host: 1, life, address: 'fd00::1', port: 4790 }],
  macs: [{ mac: '52:54:00:00:00:01', host: 0 }, { mac: '52:54:00:00:00:02', host: 1 }],
};

describe('what the fabric accepts', () => {
  test('fills in what has no reason to differ', () => {
    expect(fabricOptions(settings)).toEqual({
      cluster: '0123456789ab4def8123456789abcdef', host: 3, life, secret, tunnel: settings.tunnel, edge: null,
      mtu: LIMITS.mtu, heldOutputBytes: LIMITS.heldOutput_bytes, heldOutputAge_ms: LIMITS.heldOutputAge_ms, portQueueFrames: LIMITS.portQueue_frames,
    });
  });

  test('never shows a secret, not even a wrong one', () => {
    const wrong = { ...settings, secret: Buffer.from('short and secret') };
    expect(() => fabricOptions(wrong)).toThrow(/^secret is not what it must be: a Buffer of 32 to 4096 bytes$/);
  });

  test('writes addresses as the rest of the project compares them', () => {
    expect(mac('nic', '52:54:00:AB:CD:EF')).toBe('52:54:00:ab:cd:ef');
    expect(identity('incarnation', 'AB'.repeat(16))).toBe('ab'.repeat(16));
    expect(generationWiring({ ...wiring, macs: [{ mac: '52:54:00:AA:00:01', host: 0 }] }).macs).toEqual([{ mac: '52:54:00:aa:00:01', host: 0 }]);
  });

  test.each<[string, () => unknown]>([
    ['cluster', () => fabricOptions({ ...settings, cluster: 'shop' })],
    ['host', () => fabricOptions({ ...settings, host: 256 })],
    ['host', () => fabricOptions({ ...settings, host: -1 })],
    ['tunnel.address', () => fabricOptions({ ...settings, tunnel: { address: 'host-3', port: 4790 } })],
    ['tunnel.port', () => fabricOptions({ ...settings, tunnel: { address: '10.0.0.3', port: 0 } })],
    ['edge', () => fabricOptions({ ...settings, edge: 'a name with spaces' })],
    ['edge', () => fabricOptions({ ...settings, edge: 'sixteen-letters-' })],
    ['mtu', () => fabricOptions({ ...settings, mtu: LIMITS.mtu_most + 1 })],
    ['heldOutputBytes', () => fabricOptions({ ...settings, heldOutputBytes: 1000 })],
    ['heldOutputAge_ms', () => fabricOptions({ ...settings, heldOutputAge_ms: 0 })],
    ['life', () => fabricOptions({ ...settings, life: 'host-a' })],
    ['secret', () => fabricOptions({ ...settings, secret: Buffer.alloc(31) })],
    ['secret', () => fabricOptions({ ...settings, secret: 'x'.repeat(32) as unknown as Buffer })],
    ['portQueueFrames', () => fabricOptions({ ...settings, portQueueFrames: 1.5 })],
    ['nic', () => mac('nic', '01:00:5e:00:00:01')],
    ['nic', () => mac('nic', '00:00:00:00:00:00')],
    ['nic', () => mac('nic', '52:54:00:00:00')],
    ['incarnation', () => generationWiring({ ...wiring, incarnation: 'ab' })],
    ['generation', () => generationWiring({ ...wiring, generation: 0 })],
    ['macs', () => generationWiring({ ...wiring, macs: [...wiring.macs, { mac: '52:54:00:00:00:01', host: 1 }] })],
    ['peers', () => generationWiring({ ...wiring, peers: [...wiring.peers, { host: 0, life, address: '10.0.0.9', port: 4790 }] })],
    ['peers[].address', () => generationWiring({ ...wiring, peers: [{ host: 0, life, address: 'nowhere', port: 4790 }] })],
    ['peers[].life', () => generationWiring({ ...wiring, peers: [{ host: 0, life: 'none', address: '10.0.0.9', port: 4790 }] })],
    ['mtu', () => generationWiring({ ...wiring, mtu: 1279 })],
    ['heldOutputBytes', () => generationWiring({ ...wiring, heldOutputBytes: 1 })],
    ['tap', () => port({ nic: '52:54:00:00:00:01', tap: 'tap%d' })],
    ['path', () => port({ nic: '52:54:00:00:00:01', path: 'relative', peerPath: '/run/b' })],
    ['path', () => port({ nic: '52:54:00:00:00:01', path: `/${'x'.repeat(LIMITS.path_bytes)}`, peerPath: '/run/b' })],
    ['peerPath', () => port({ nic: '52:54:00:00:00:01', path: '/run/b', peerPath: '/run/b' })],
    ['ip', () => ipOrNull('fd00::1')],
    ['timeout_ms', () => timeout(LIMITS.channelTimeout_ms_most + 1)],
  ])('refuses a wrong %s, by name', (what, attempt) => {
    let thrown: unknown = null;
    try {
      attempt();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(FabricError);
    expect(thrown).toMatchObject({ code: 'EINVAL', message: expect.stringMatching(new RegExp(`^${what.replace(/[[\].]/g, '\\$&')} is `)) });
  });
});
