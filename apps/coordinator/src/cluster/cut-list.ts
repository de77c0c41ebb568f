import type { StoredDecision } from '@virtcft/bus';
import type { CutRef } from '@virtcft/events';
import { limits } from '../limits.js';

/** Cuts of one cluster as the log tells them, oldest first: what a restore can be asked for. */
export class CutList {
  readonly #cuts: { readonly ref: CutRef; readonly previous: string | null; readonly time: Date }[] = [];
  /** By epoch, which is never used again: also of cuts that are adopted without their event. */
  readonly #barriers = new Map<number, Date>();
  /** Where a log that was made anew begins: older cuts are in the store only. */
  #begins: CutRef | null = null;

  get begins(): CutRef | null { return this.#begins; }
  get count(): number { return this.#cuts.length; }

  note({ decision, time }: StoredDecision): void {
    if (decision.type === 'epoch.opened') {
      this.#barriers.set(decision.data.epoch, time);
      const [oldest] = this.#barriers.keys();
      if (oldest !== undefined && this.#barriers.size > limits.remembered_cuts) this.#barriers.delete(oldest);
    }
    if (decision.type === 'cluster.rebuilt') this.#begins = decision.data.tip;
    if (decision.type !== 'epoch.committed') return;
    this.#cuts.push({ ref: decision.data.cut, previous: decision.data.previous, time });
    if (this.#cuts.length > limits.remembered_cuts * 1.25) this.#cuts.splice(0, this.#cuts.length - limits.remembered_cuts);
  }

  /** Oldest first, as retention judges them. */
  get committed(): { readonly hash: string; readonly time_ms: number }[] {
    return this.#cuts.map(({ ref, time }) => ({ hash: ref.hash, time_ms: time.getTime() }));
  }

  /** The cut before the one of this hash, as the log tells it. */
  before(hash: string): CutRef | null {
    const previous = this.#cuts.findLast(({ ref }) => ref.hash === hash)?.previous ?? null;
    return previous === null ? null : this.#cuts.findLast(({ ref }) => ref.hash === previous)?.ref ?? null;
  }

  find(generation: number, epoch: number): CutRef | null {
    return this.#cuts.find(({ ref }) => ref.generation === generation && ref.epoch === epoch)?.ref ?? null;
  }

  /** When the barrier of `cut` was decided, in milliseconds of the wall clock; null when the log does not tell. */
  barrierOf_ms(cut: CutRef): number | null {
    return this.#barriers.get(cut.epoch)?.getTime() ?? null;
  }

  /** What going back to `cut` undoes: epochs committed after it, and the time from it until now. */
  lossOf(cut: CutRef, now: Date): { epochs: number; seconds: number | null } {
    const at = this.#cuts.findIndex(({ ref }) => ref.hash === cut.hash);
    const time = this.#cuts[at]?.time ?? now;
    return { epochs: this.#cuts.length - 1 - at, seconds: Math.max(0, (now.getTime() - time.getTime()) / 1_000) };
  }
}
