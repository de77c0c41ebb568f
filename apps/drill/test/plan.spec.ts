import fc from 'fast-check';
import { ClusterSpec, type DrillCheck, type DrillResult } from '@virtcft/events';
import { availableMib, checkAddress, checkIdentity, checkRoom, DrillRefused, guestsOf, judge, leftOver } from '@virtcft/drill';
import { withoutSecrets } from '../src/run.js';

const spec = ClusterSpec.parse({
  apiVersion: 'virtcft/v1', name: 'shop', hosts: ['a'],
  vms: [
    { name: 'db', memory_mib: 128, kernel: '/k', mac: '52:54:00:00:00:01', disks: [{ name: 'data', source: '/d' }] },
    { name: 'web', memory_mib: 96, kernel: '/k', mac: '52:54:00:00:00:02' },
  ],
});
const held = (memory_mib: number, ...disks: string[]) => ({ host: 'a', segment: 'a'.repeat(64), kind: 'full' as const, runState: 'running' as const, memory_bytes: memory_mib * 2 ** 20, disks: disks.map((name) => ({ name, bytes: 4096, image: null })) });

describe('the guests of a drill', () => {
  it('are those of the cut, as the cluster file describes them', () => {
    expect(guestsOf({ vms: { web: held(96), db: held(128, 'data') } }, spec).map(({ name }) => name)).toEqual(['db', 'web']);
    expect(guestsOf({ vms: { web: held(96) } }, spec).map(({ name }) => name)).toEqual(['web']);
  });

  it('are refused where the file describes something else than the cut holds', () => {
    const refused = (vms: Parameters<typeof guestsOf>[0]['vms']) => (): unknown => guestsOf({ vms }, spec);
    expect(refused({})).toThrow('the cut holds no VM');
    expect(refused({ old: held(96) })).toThrow('the cluster file has no VM old');
    expect(refused({ web: held(64) })).toThrow('VM web has 96 MiB in the cluster file and 64 in the cut');
    expect(refused({ db: held(128) })).toThrow('VM db has other disks');
  });

  it('captured by another hypervisor or processor are refused, with both (R20)', () => {
    const here = { driver: 'qemu', version: '7.2.9', machine: 'pc-q35-7.2', accel: 'tcg', cpu: 'max' } as const;
    expect(() => { checkIdentity('db', { ...here }, here); }).not.toThrow();
    for (const other of [{ version: '8.0.0' }, { machine: 'pc-q35-8.0' }, { accel: 'kvm' }, { cpu: 'EPYC' }, { driver: 'xen' as const }]) expect(() => { checkIdentity('db', { ...here, ...other }, here); }).toThrow(/VM db was captured by .*; this machine has qemu 7.2.9, pc-q35-7.2, tcg, max/);
  });

  it('need room beside what runs on the machine, and what is missing is said', () => {
    expect(availableMib('MemTotal:  9 kB\nMemAvailable:   2097152 kB\n')).toBe(2_048);
    expect(availableMib('')).toBe(0);
    expect(() => { checkRoom(spec.vms, 2_048); }).not.toThrow();
    expect(() => { checkRoom(spec.vms, 1_000); }).toThrow(/2 VMs need [0-9]+ MiB here, 512 of them left to the machine; 1000 MiB are free/);
  });
});

describe('the check\'s address', () => {
  it('is one beside the guests that none of them has, or the one that is asked for', () => {
    expect(checkAddress(['10.1.2.11', '10.1.2.12'], null)).toEqual({ address: '10.1.2.254', bits: 24 });
    expect(checkAddress(['10.1.2.254'], null)).toEqual({ address: '10.1.2.253', bits: 24 });
    expect(checkAddress(['10.1.2.11', '10.1.3.12'], null)).toEqual({ address: '10.1.3.254', bits: 23 });
    expect(checkAddress(['10.1.2.11'], '10.1.2.7')).toEqual({ address: '10.1.2.7', bits: 24 });
    expect(checkAddress([], '10.1.2.7')).toEqual({ address: '10.1.2.7', bits: 24 });
    expect(checkAddress([], null)).toBeNull();
  });

  it('is refused where it is a guest\'s, or in no network with them', () => {
    expect(() => checkAddress(['10.1.2.11'], '10.1.2.11')).toThrow(DrillRefused);
    expect(() => checkAddress(['10.1.2.11', '192.168.0.1'], null)).toThrow('no network of 16 bits or more');
  });

  it('is never a guest\'s, the network\'s or the broadcast\'s', () => {
    const octet = fc.integer({ min: 1, max: 254 });
    fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), octet), { minLength: 1, maxLength: 40 }), (hosts) => {
      const guests = hosts.map(([a, b]) => `172.20.${a}.${b}`);
      const own = checkAddress(guests, null);
      expect(guests).not.toContain(own?.address);
      const value = own!.address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
      expect([0, 2 ** (32 - own!.bits) - 1]).not.toContain(value % 2 ** (32 - own!.bits));
    }));
  });
});

describe('a drill', () => {
  const vm = (began: DrillResult['vms'][number]['began'], ended: DrillResult['vms'][number]['ended']): DrillResult['vms'][number] => ({ vm: 'db', address: null, began, ended });
  const check = (more: Partial<DrillCheck>): DrillCheck => ({ exit_code: 0, signal: null, timed_out: false, check_ms: 1, tail: '', ...more });

  it('passes when its check does and every guest is still what it was', () => {
    expect(judge([vm('running', 'running'), vm('off', 'off'), vm('paused', 'paused')], check({}), 9)).toEqual({ ok: true, reason: null });
    expect(judge([vm('running', 'running')], null, 9)).toEqual({ ok: true, reason: null });
  });

  it('fails by its check, and by a guest that runs no more, whatever the check says', () => {
    expect(judge([], check({ exit_code: 3 }), 9)).toEqual({ ok: false, reason: 'the check ended with 3' });
    expect(judge([], check({ exit_code: null, signal: 'SIGTERM', timed_out: true }), 9)).toEqual({ ok: false, reason: 'the check did not end within 9 s' });
    expect(judge([], check({ exit_code: null, signal: 'SIGSEGV' }), 9)).toEqual({ ok: false, reason: 'the check was ended by SIGSEGV' });
    expect(judge([vm('running', 'panicked')], check({}), 9)).toEqual({ ok: false, reason: 'VM db panicked' });
    expect(judge([vm('off', 'exited'), vm('running', 'off')], null, 9)).toEqual({ ok: false, reason: 'VM db ended; VM db is off' });
  });

  it('leaves a folder only when it is killed, and the next one takes that away, never one of a drill that runs', () => {
    const began = (pid: number): string | null => (pid === 10 ? '500' : null);
    expect(leftOver(['drill-a.10.500', 'drill-b.10.400', 'drill-c.11.500', 'images', 'drill-d.x.1', 'mine.11.500'], began)).toEqual(['drill-b.10.400', 'drill-c.11.500']);
  });

  it('gives its guests and its check no secret of the installation', () => {
    expect(withoutSecrets({ PATH: '/bin', AWS_SECRET_ACCESS_KEY: 'x', VIRTCFT_NATS_PASSWORD: 'x', VIRTCFT_STORE_KEYS_FILE: '/k', VIRTCFT_LOG: 'error', SHOP_TOKEN: 'y' })).toEqual({ PATH: '/bin', VIRTCFT_LOG: 'error', SHOP_TOKEN: 'y' });
  });
});
