import { newestWholeCut, parseCutKey, stillDamaged } from '@virtcft/checkpoint';
import type { CutRef, Report } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import type { StoreView } from '@virtcft/protocol';
import { limits } from '../limits.js';

/** Objects of a cluster's store that the scrubber found damaged (R18): an alarm while they are, and no recovery goes to a cut that rests on one. */
export class KnownDamage {
  readonly #keys = new Map<string, string>();

  constructor(private readonly store: ObjectStore, private readonly cluster: string, private readonly before: (hash: string) => Pick<CutRef, 'key' | 'hash'> | null) {}

  /** True when it changed something. Only the replica store tells of damage. */
  note(source: string, report: Report): boolean {
    if (source !== 'replica-store') return false;
    if (report.type === 'object.damaged') return this.add(report.data.key, `${report.data.part}: ${report.data.reason}`);
    if (report.type !== 'alarm.cleared' || report.data.alarm !== 'object-damaged') return false;
    this.#keys.clear();
    return true;
  }

  add(key: string, reason: string): boolean {
    if (this.#keys.has(key) || this.#keys.size >= limits.known_damage) return false;
    this.#keys.set(key, reason);
    return true;
  }

  /** What an operator is told; null when nothing is damaged. */
  get alarm(): string | null {
    const [first] = this.#keys;
    if (first === undefined) return null;
    const more = this.#keys.size === 1 ? '' : `, and ${this.#keys.size - 1} more`;
    return `"${first[0]}" (${first[1]})${more}: a recovery goes to a cut that does not rest on it; "virtcft verify --all" names the cuts that cannot be restored`.slice(0, 500);
  }

  /** Where `cut` rests on an object that is still damaged: what a recovery is given instead. Null when it can be restored, as far as is known. Throws what the store throws. */
  async of(cut: CutRef): Promise<NonNullable<StoreView['damage']> | null> {
    for (const key of [...this.#keys.keys()]) if (!(await stillDamaged(this.store, key))) this.#keys.delete(key);
    if (this.#keys.size === 0) return null;
    const found = await newestWholeCut(this.store, this.cluster, cut, new Set(this.#keys.keys()), ({ hash }) => this.before(hash));
    if (found.damaged === null || found.cut?.hash === cut.hash) return null;
    const named = found.cut === null ? null : parseCutKey(found.cut.key);
    return { of: cut.hash, key: found.damaged, cut: found.cut === null || named === null ? null : { ...found.cut, generation: named.generation, epoch: named.epoch } };
  }
}
