import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { reasonOf } from '../../errors.js';
import { LIMITS } from './limits.js';
import { loadAddress } from './symbol.js';
import type { Variable } from './symbol.js';
import { later } from './timers.js';
import type { Timers } from './timers.js';

/** A moment of the host's monotonic clock, and what the guest's virtual clock should have said then. */
export interface Anchor { readonly host_ms: number; readonly guest_ns: bigint }

const ns = (milliseconds: number): bigint => BigInt(Math.round(milliseconds * 1e6));
const ms = (nanoseconds: bigint): number => Number(nanoseconds) / 1e6;

/**
 * Makes one guest's time follow its host's across pauses. QEMU stops the virtual clock with the processors and has no command to move it, so the two
 * counters are written in its memory while it is stopped. They lie in the variable `timers_state`, whose place a symbol gives; where in it is learnt
 * by looking for the values that a device state holds, and trusted once another stop has confirmed it. Anything unexpected ends the following,
 * never the guest. The time that is wanted counts from one anchor, so errors of single pauses do not add up.
 */
export class GuestClock {
  readonly #memory: number;
  readonly #address: number;
  readonly #bytes: Buffer;
  #anchor: Anchor | null;
  /** Offsets that have held each counter at every stop so far. */
  #candidates: { readonly ticks: readonly number[]; readonly clock: readonly number[] } | null = null;
  #learnt_ns: bigint | null = null;
  #confirmed = false;
  /** What was seen at the last resume, to tell a wrong place from the right one. */
  #last: { readonly host_ms: number; readonly clock_ns: bigint } | null = null;
  #shortcoming: string | null = null;
  #lessons = 0;
  #open = true;
  advanced_ms = 0;
  lost_ms = 0;

  /** Throws what the operating system says when the process's memory cannot be opened. `anchor` null: the guest's time begins at the first resume. */
  constructor(pid: number, variable: Variable, anchor: Anchor | null) {
    this.#address = loadAddress(pid) + variable.address;
    this.#bytes = Buffer.alloc(variable.size_bytes);
    this.#anchor = anchor;
    // Bound to this process's memory, whoever gets its number later.
    this.#memory = openSync(`/proc/${pid}/mem`, 'r+');
  }

  /** Why the time does not follow; null when it does, or will once the place is confirmed. */
  get shortcoming(): string | null { return this.#shortcoming; }
  /** Whether `learn` would be of use. */
  get learning(): boolean { return this.#open && !this.#confirmed; }

  /** While stopped: `timers` are those of the device state that was just written or loaded. */
  learn(timers: Timers): void {
    if (!this.learning || timers.clock_ns === this.#learnt_ns) return;
    this.#guarded(() => {
      this.#read();
      const known = this.#candidates;
      const holding = (value: bigint, among: readonly number[] | undefined): number[] => this.#offsets().filter((at) => this.#bytes.readBigInt64LE(at) === value && (among?.includes(at) ?? true));
      this.#candidates = { ticks: holding(timers.ticks, known?.ticks), clock: holding(timers.clock_ns, known?.clock) };
      const { ticks, clock } = this.#candidates;
      if (ticks.length === 0 || clock.length === 0) throw new Error('its timers are not where its symbol says');
      this.#confirmed = this.#learnt_ns !== null && ticks.length === 1 && clock.length === 1 && ticks[0] !== clock[0];
      this.#learnt_ns = timers.clock_ns;
      if (!this.#confirmed && ++this.#lessons >= LIMITS.clock_lessons) throw new Error('more than one place holds its timers');
    });
  }

  /** Just before the processors run again: the guest's clocks move to where they would be without the pause, by at most LIMITS.clock_jump_ms. */
  catchUp(host_ms: number): void {
    const anchor = (this.#anchor ??= { host_ms, guest_ns: 0n });
    if (!this.#open || !this.#confirmed) return;
    this.#guarded(() => {
      const now = this.#timers();
      const last = this.#last;
      const impossible = last !== null && (now.clock_ns < last.clock_ns || ms(now.clock_ns - last.clock_ns) > host_ms - last.host_ms + LIMITS.clock_slack_ms);
      if (impossible) throw new Error('its timers went where no clock goes');
      const lag_ns = anchor.guest_ns + ns(host_ms - anchor.host_ms) - now.clock_ns;
      const most_ns = ns(LIMITS.clock_jump_ms);
      const by_ns = lag_ns < most_ns ? lag_ns : most_ns;
      // Never back.
      const moved = by_ns > 0n ? later(now, by_ns) : now;
      if (by_ns > 0n) this.#write(moved);
      this.#last = { host_ms, clock_ns: moved.clock_ns };
      this.advanced_ms += Math.max(0, ms(by_ns));
      if (lag_ns <= most_ns) return;
      this.lost_ms += ms(lag_ns - most_ns);
      this.#anchor = { host_ms, guest_ns: moved.clock_ns };
    });
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#memory);
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#shortcoming = `QEMU's memory cannot be trusted for it: ${reasonOf(error)}`;
      this.close();
    }
  }

  #offsets(): number[] {
    return Array.from({ length: Math.floor(this.#bytes.length / 8) }, (_, i) => i * 8);
  }

  #timers(): Timers {
    this.#read();
    const [ticks = 0, clock = 0] = [this.#candidates?.ticks[0], this.#candidates?.clock[0]];
    return { ticks: this.#bytes.readBigInt64LE(ticks), clock_ns: this.#bytes.readBigInt64LE(clock) };
  }

  #read(): void {
    if (readSync(this.#memory, this.#bytes, 0, this.#bytes.length, this.#address) !== this.#bytes.length) throw new Error('it cannot be read');
  }

  /** Each counter by itself: between them lie locks that are QEMU's own. */
  #write(timers: Timers): void {
    const value = Buffer.alloc(8);
    for (const [at, counter] of [[this.#candidates?.ticks[0], timers.ticks], [this.#candidates?.clock[0], timers.clock_ns]] as const) {
      value.writeBigInt64LE(counter);
      if (at === undefined || writeSync(this.#memory, value, 0, 8, this.#address + at) !== 8) throw new Error('it cannot be written');
    }
  }
}
