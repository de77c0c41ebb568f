import { HypervisorError } from '../../errors.js';

/** A machine's two counters of time. Both begin with the machine and stand still while it is stopped; everything that a guest can read follows them. */
export interface Timers {
  /** What the processors' time stamp counters say. */
  readonly ticks: bigint;
  /** The virtual clock: HPET, PIT, ACPI and APIC timers, and the real-time clock under `clock=vm`. */
  readonly clock_ns: bigint;
}

// The section `timer`, instance 0, version 2 (vmstate_timers): ticks, eight bytes unused, clock; big-endian. Before it type and id, behind it the footer.
const HEADER = Buffer.from('\x05timer\0\0\0\0\0\0\0\x02', 'latin1');
const TYPE = 0x04, FOOTER = 0x7e, DATA_BYTES = 24, CLOCK_AT = 16;

/** Where the data of the timer section begins. Throws `state-refused`. */
function sectionOf(state: Buffer): number {
  for (let name = state.indexOf(HEADER); name >= 0; name = state.indexOf(HEADER, name + 1)) {
    const at = name + HEADER.length;
    const end = at + DATA_BYTES;
    if (name < 5 || end + 5 > state.length || state[name - 5] !== TYPE || state[end] !== FOOTER) continue;
    if (state.subarray(name - 4, name).equals(state.subarray(end + 1, end + 5))) return at;
  }
  throw new HypervisorError('state-refused', 'the device state has no timer section of version 2');
}

/** The timers that a device state holds. Throws `state-refused`. */
export function timersOf(state: Buffer): Timers {
  const at = sectionOf(state);
  return { ticks: state.readBigInt64BE(at), clock_ns: state.readBigInt64BE(at + CLOCK_AT) };
}

/** Both counters `by_ns` later. Their own ratio is the frequency of the ticks, whatever host they were counted on, so they stay in step. */
export function later(timers: Timers, by_ns: bigint): Timers {
  const { ticks, clock_ns } = timers;
  return { ticks: clock_ns > 0n ? ticks + (ticks * by_ns) / clock_ns : ticks, clock_ns: clock_ns + by_ns };
}

/** A copy of a device state whose machine finds itself `by_ns` later: what is due by then is due at once. Throws `state-refused`. */
export function stateLater(state: Buffer, by_ns: bigint): Buffer {
  if (by_ns === 0n) return state;
  const moved = Buffer.from(state);
  const at = sectionOf(moved);
  const { ticks, clock_ns } = later(timersOf(state), by_ns);
  moved.writeBigInt64BE(ticks, at);
  moved.writeBigInt64BE(clock_ns, at + CLOCK_AT);
  return moved;
}
