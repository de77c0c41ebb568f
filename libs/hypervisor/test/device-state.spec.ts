import fc from 'fast-check';
import { checkDeviceState, composeIncoming, prefixOf } from '../src/drivers/qemu/device-state.js';
import { HypervisorError } from '../src/errors.js';

const u32 = (value: number): Buffer => {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
};
const text = (value: string): Buffer => Buffer.concat([Buffer.of(value.length), Buffer.from(value, 'latin1')]);
const MAGIC = Buffer.from('QEVM\0\0\0\x03', 'latin1');
const footer = (id: number): Buffer => Buffer.concat([Buffer.of(0x7e), u32(id)]);

function full(id: number, name: string, version: number, data: Buffer): Buffer {
  return Buffer.concat([Buffer.of(4), u32(id), text(name), u32(0), u32(version), data, footer(id)]);
}

/** A migration stream as QEMU 7.2 (or, with `switchover`, 9) writes it for a guest whose RAM is shared. */
function migration(switchover: boolean): { prefix: Buffer; stream: Buffer } {
  const machine = 'pc-q35-7.2';
  const prefix = Buffer.concat([
    MAGIC, Buffer.of(7), u32(machine.length), Buffer.from(machine),
    Buffer.of(5), text('configuration/capabilities'), u32(1), u32(1), text('x-ignore-shared'),
    Buffer.of(5), text('configuration/target-page-bits'), u32(1), u32(12),
    Buffer.of(8, 0, 3, 0, 4), u32(0),
    Buffer.of(1), u32(2), text('ram'), u32(0), u32(4), Buffer.from('blocks and pages'), footer(2),
    ...(switchover ? [Buffer.of(8, 0, 11, 0, 0)] : []),
    Buffer.of(3), u32(2), Buffer.from('the rest'), footer(2),
  ]);
  return { prefix, stream: Buffer.concat([prefix, full(0, 'timer', 2, Buffer.alloc(24)), Buffer.of(0)]) };
}

const deviceState = Buffer.concat([
  MAGIC, full(0, 'timer', 2, Buffer.alloc(24, 7)), full(41, 'acpi_build', 1, Buffer.of(1)), full(42, 'globalstate', 1, Buffer.from('running')), Buffer.of(0),
]);

describe('the prefix of a migration stream', () => {
  test.each([false, true])('ends with the RAM section (switchover command: %s)', (switchover) => {
    const { prefix, stream } = migration(switchover);
    expect(prefixOf(stream).equals(prefix)).toBe(true);
  });

  test('damaged or cut short is refused, never misread beyond its end', () => {
    const { prefix, stream } = migration(false);
    for (let length = 0; length < prefix.length; length++) {
      expect(() => prefixOf(stream.subarray(0, length))).toThrow(HypervisorError);
    }
    fc.assert(fc.property(fc.nat(stream.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const damaged = Buffer.from(stream);
      damaged[at]! ^= flip;
      try {
        expect(prefixOf(damaged).length).toBeLessThanOrEqual(damaged.length);
      } catch (error) {
        expect(error).toMatchObject({ code: 'state-refused' });
      }
    }), { numRuns: 2000 });
  });
});

describe('what is loaded', () => {
  test('is the prefix and all device sections, with the ACPI tables to be finished again', () => {
    const { prefix } = migration(false);
    const loaded = composeIncoming(prefix, deviceState);
    expect(loaded.subarray(0, prefix.length).equals(prefix)).toBe(true);
    const expected = Buffer.concat([
      full(0, 'timer', 2, Buffer.alloc(24, 7)), full(41, 'acpi_build', 1, Buffer.of(0)), full(42, 'globalstate', 1, Buffer.from('running')), Buffer.of(0),
    ]);
    expect(loaded.subarray(prefix.length).equals(expected)).toBe(true);
    expect(deviceState.includes(Buffer.concat([u32(1), Buffer.of(1), footer(41)]))).toBe(true);
  });

  test('must be a whole device stream', () => {
    for (const bad of [Buffer.alloc(0), MAGIC, deviceState.subarray(0, -1), Buffer.concat([Buffer.from('x'), deviceState]), migration(false).stream]) {
      expect(() => checkDeviceState(bad)).toThrow(HypervisorError);
    }
    expect(() => checkDeviceState(deviceState)).not.toThrow();
  });
});
