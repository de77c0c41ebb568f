import { HypervisorError } from '../../errors.js';
import { LIMITS } from './limits.js';

// QEMU's migration stream, as far as it is needed to cut it apart (migration/savevm.c; version 3).
const MAGIC = Buffer.from('QEVM\0\0\0\x03', 'latin1');
const EOF = 0x00, SECTION_START = 0x01, SECTION_END = 0x03, SECTION_FULL = 0x04, SUBSECTION = 0x05, CONFIGURATION = 0x07, COMMAND = 0x08,
  FOOTER = 0x7e;
/** QEMU 9 and later send it between the last two parts of the RAM section: command 11 without data. */
const SWITCHOVER_START = Buffer.from([COMMAND, 0, 11, 0, 0]);

/**
 * A VM's device state is what `xen-save-devices-state` writes (1.5 ms, some 75 KB): all devices and CPUs, but none of the memory blocks, without
 * which QEMU refuses to load. The blocks that are not the guest's RAM (firmware, ACPI tables) stand in the *prefix* of an ordinary migration
 * stream made with x-ignore-shared: header, machine configuration and the RAM section. The prefix (210 KB) is a function of the shape of the
 * command line: it was compared byte by byte between fresh processes, and with booted guests, where only the ACPI tables differ (`composeIncoming`).
 * So it is made where it is needed, once per shape, and no epoch carries it.
 */

/** The part of a migration stream up to and including the end of its RAM section. Throws `state-refused` when it is not such a stream. */
export function prefixOf(stream: Buffer): Buffer {
  const refuse = (why: string): never => {
    throw new HypervisorError('state-refused', `QEMU's migration stream is not as expected: ${why}`);
  };
  if (!stream.subarray(0, MAGIC.length).equals(MAGIC)) refuse('no header of version 3');
  const need = (at: number, bytes: number): number => (at + bytes <= stream.length ? at : refuse(`it ends within the field at ${at}`));
  const u8 = (at: number): number => stream.readUInt8(need(at, 1));
  const u16 = (at: number): number => stream.readUInt16BE(need(at, 2));
  const u32 = (at: number): number => stream.readUInt32BE(need(at, 4));
  let at = MAGIC.length;
  if (u8(at) !== CONFIGURATION) refuse('no machine configuration');
  at += 5 + u32(at + 1);
  while (u8(at) === SUBSECTION) {
    const length = u8(at + 1);
    const name = stream.toString('latin1', need(at + 2, length), at + 2 + length);
    at += 2 + length + 4;
    if (name === 'configuration/capabilities') {
      const count = u32(at);
      at += 4;
      for (let i = 0; i < count; i++) at += 1 + u8(at);
    } else if (name === 'configuration/target-page-bits') at += 4;
    else refuse(`unknown configuration ${JSON.stringify(name)}`);
  }
  while (u8(at) === COMMAND) at += 5 + u16(at + 3);
  if (u8(at) !== SECTION_START) refuse(`type ${u8(at)} where the RAM section should start`);
  const name = stream.toString('latin1', need(at + 6, u8(at + 5)), at + 6 + u8(at + 5));
  if (name !== 'ram') refuse(`section ${JSON.stringify(name)} where the RAM section should start`);
  const id = stream.subarray(at + 1, at + 5);
  const footer = Buffer.concat([Buffer.of(FOOTER), id]);
  const end = Buffer.concat([Buffer.of(SECTION_END), id]);
  let last = stream.indexOf(Buffer.concat([footer, end]), at);
  if (last < 0) last = stream.indexOf(Buffer.concat([footer, SWITCHOVER_START, end]), at);
  if (last < 0) refuse('the RAM section has no end');
  const closing = stream.indexOf(footer, last + footer.length);
  if (closing < 0) refuse('the end of the RAM section has no footer');
  return stream.subarray(0, closing + footer.length);
}

/** Checks what `xen-save-devices-state` wrote. Throws `state-refused`. */
export function checkDeviceState(state: Buffer): void {
  const whole = state.length > MAGIC.length + 1 && state.length <= LIMITS.device_state_bytes && state.at(-1) === EOF;
  if (!whole || !state.subarray(0, MAGIC.length).equals(MAGIC) || state[MAGIC.length] !== SECTION_FULL) {
    throw new HypervisorError('state-refused', `device state of ${state.length} bytes is not a whole QEMU device stream`);
  }
}

const ACPI_BUILD = Buffer.from('\x0aacpi_build\0\0\0\0\0\0\0\x01', 'latin1');

/**
 * A stream that QEMU loads: the prefix, then the device sections. The prefix comes from a machine whose firmware has not run, so its ACPI tables
 * are not final. `acpi_build`'s only field says whether the tables were finished since the last reset; cleared, QEMU finishes them again from the
 * loaded PCI state when the firmware next reads them, as after every reset. That keeps a cut in the middle of the firmware's work loadable.
 */
export function composeIncoming(prefix: Buffer, state: Buffer): Buffer {
  checkDeviceState(state);
  const stream = Buffer.concat([prefix, state.subarray(MAGIC.length)]);
  const at = stream.indexOf(ACPI_BUILD, prefix.length);
  const finished = at + ACPI_BUILD.length;
  if (at >= 0 && stream[finished + 1] === FOOTER) stream[finished] = 0;
  return stream;
}
