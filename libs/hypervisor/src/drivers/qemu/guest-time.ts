import { HypervisorError, reasonOf } from '../../errors.js';
import type { Log } from '../../log.js';
import type { ClockStats, VmImage, VmSpec } from '../../port.js';
import { GuestClock } from './guest-clock.js';
import { LIMITS } from './limits.js';
import type { ClockAccess } from './probe.js';
import { stateLater, timersOf } from './timers.js';

/** A VM's clock policy (R25) over all the processes that it lives in. Under `stop` there is nothing to do: QEMU's clocks stand with the processors. */
export class GuestTime {
  #clock: GuestClock | null = null;
  #told: string | null = null;
  /** Of earlier processes, and moved at loads. */
  #advanced_ms = 0;
  #lost_ms = 0;
  #unable: string | null;

  constructor(private readonly spec: VmSpec, private readonly access: ClockAccess, private readonly log: Log) {
    this.#unable = spec.clock === 'follow' && access.timers === null ? access.why : null;
  }

  get learning(): boolean { return this.#clock?.learning ?? false; }

  /** A process that has not run yet: the guest's time begins with it. */
  begin(pid: number): void {
    this.#attach(pid, null);
  }

  /** The device state to load for `image`. Throws `state-refused`. */
  ahead({ deviceState, ahead_ms }: VmImage): Buffer {
    if (!Number.isInteger(ahead_ms) || ahead_ms < 0) throw new HypervisorError('spec-invalid', `VM ${this.spec.name}: clocks cannot be moved ahead by ${ahead_ms} ms`);
    if (this.spec.clock === 'stop') return deviceState;
    const by_ms = this.access.timers === null ? 0 : Math.min(ahead_ms, LIMITS.clock_jump_ms);
    this.#advanced_ms += by_ms;
    this.#lost_ms += ahead_ms - by_ms;
    return stateLater(deviceState, BigInt(by_ms) * 1_000_000n);
  }

  /** A process that has loaded `state`: from `since_ms` on the host's clock counts, so that the load is a pause like any other. */
  goOn(pid: number, state: Buffer, since_ms: number): void {
    if (this.spec.clock === 'stop') return;
    this.#attach(pid, { host_ms: since_ms, guest_ns: timersOf(state).clock_ns });
    this.learn(state);
  }

  /** While stopped, with the state that was just written or loaded. */
  learn(state: Buffer): void {
    this.#clock?.learn(timersOf(state));
    this.#tell();
  }

  /** Just before the processors run. */
  catchUp(): void {
    this.#clock?.catchUp(performance.now());
    this.#tell();
  }

  stats(): ClockStats {
    return {
      policy: this.spec.clock, shortcoming: this.#unable ?? this.#clock?.shortcoming ?? null,
      advanced_ms: this.#advanced_ms + (this.#clock?.advanced_ms ?? 0), lost_ms: this.#lost_ms + (this.#clock?.lost_ms ?? 0),
    };
  }

  end(): void {
    const clock = this.#clock;
    this.#clock = null;
    if (clock === null) return;
    this.#advanced_ms += clock.advanced_ms;
    this.#lost_ms += clock.lost_ms;
    clock.close();
  }

  #attach(pid: number, anchor: ConstructorParameters<typeof GuestClock>[2]): void {
    this.end();
    if (this.spec.clock === 'stop' || this.access.timers === null) return this.#tell();
    try {
      this.#clock = new GuestClock(pid, this.access.timers, anchor);
      this.#unable = null;
    } catch (error) {
      this.#unable = `the memory of QEMU (pid ${pid}) cannot be opened: ${reasonOf(error)}`;
    }
    this.#tell();
  }

  /** Each reason once: a guest whose time falls behind must not do so in silence. */
  #tell(): void {
    const { shortcoming } = this.stats();
    if (shortcoming === null || shortcoming === this.#told || this.learning) return;
    this.#told = shortcoming;
    this.log('a guest\'s time does not follow its host\'s', { vm: this.spec.name, reason: shortcoming });
  }
}
