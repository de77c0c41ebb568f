import type { CutContent, DefinitionContent, StoredGeneration } from '@virtcft/protocol';
import type { Clock } from './clock.js';
import type { Entries } from './journal.js';
import type { Random } from './random.js';

/** A VM's segment as the model keeps it: the pages that changed since the parent, and all that is not memory. */
export interface SimSegment {
  readonly hash: string;
  readonly vm: string;
  readonly parent: string | null;
  readonly kind: 'full' | 'delta';
  readonly pages: ReadonlyMap<number, number>;
  readonly device: Device;
}

/** What a guest has sent, got and said to the outside. */
export interface Device { readonly sent: Entries; readonly got: Entries; readonly said: Entries }

export interface SimPack { readonly segments: readonly SimSegment[]; readonly frames: readonly { readonly token: number; readonly to: string }[]; readonly down: readonly string[] }
export interface SimCut { readonly content: CutContent; readonly hash: string; readonly key: string }
export type SimObject = { readonly pack: SimPack } | { readonly cut: SimCut } | { readonly generation: StoredGeneration };

/** Write-once objects. A put may be slow, and lands even when its author is gone: it is under way. */
export class SimStore {
  readonly objects = new Map<string, SimObject>();
  readonly #cuts = new Map<string, SimCut>();
  readonly #segments = new Map<string, SimSegment>();
  readonly #folded = new Map<string, readonly number[]>();
  away = false;
  /** The one of the highest version. The shell decides nothing that rests on it before it is stored, so that it is here at once. */
  definition: DefinitionContent | null = null;
  /** A put takes up to this long, sometimes. */
  slow_ms = 0;

  constructor(private readonly clock: Clock, private readonly random: Random) {}

  async put(key: string, object: SimObject): Promise<void> {
    await this.clock.sleep(this.random.chance(0.2) ? this.random.between(1, 1 + this.slow_ms) : this.random.between(1, 8));
    while (this.away) await this.clock.sleep(50);
    if (!this.objects.has(key)) {
      this.objects.set(key, object);
      if ('cut' in object) this.#cuts.set(object.cut.hash, object.cut);
      if ('pack' in object) for (const segment of object.pack.segments) this.#segments.set(segment.hash, segment);
    }
    await this.clock.sleep(this.random.between(0.2, 1));
  }

  async read(): Promise<void> {
    await this.clock.sleep(this.random.between(0.5, 3));
    while (this.away) await this.clock.sleep(50);
  }

  pack(key: string): SimPack | null {
    const object = this.objects.get(key);
    return object !== undefined && 'pack' in object ? object.pack : null;
  }

  cut(key: string): SimCut | null {
    const object = this.objects.get(key);
    return object !== undefined && 'cut' in object ? object.cut : null;
  }

  cutByHash(hash: string): SimCut | null { return this.#cuts.get(hash) ?? null; }

  cuts(): SimCut[] { return [...this.#cuts.values()]; }
  generations(): StoredGeneration[] { return [...this.objects.values()].flatMap((object) => ('generation' in object ? [object.generation] : [])); }

  /** The memory of a VM in a cut, from the store alone; null when the chain has a hole. */
  fold(cut: SimCut, vm: string, pages: number): readonly number[] | null {
    const known = this.#folded.get(`${cut.hash} ${vm}`);
    if (known !== undefined) return known;
    const stored = new Map<string, SimSegment>();
    for (const { key } of cut.content.packs) for (const segment of this.pack(key)?.segments ?? []) if (segment.vm === vm) stored.set(segment.hash, segment);
    // The chain inside this cut's packs, down to the segment of the cut before or to a full one.
    const previous = cut.content.previous === null ? null : this.cutByHash(cut.content.previous);
    const end = previous?.content.vms[vm]?.segment ?? null;
    const chain: SimSegment[] = [];
    let hash: string | null = cut.content.vms[vm]?.segment ?? null;
    while (hash !== null && hash !== end) {
      const segment = stored.get(hash);
      if (segment === undefined || chain.length > stored.size) return null;
      chain.unshift(segment);
      hash = segment.kind === 'full' ? null : segment.parent;
      if (hash === null && segment.kind === 'delta') return null;
    }
    const base = hash === null || previous === null ? new Array<number>(pages).fill(0) : this.fold(previous, vm, pages);
    if (base === null) return null;
    const memory = [...base];
    for (const segment of chain) for (const [page, value] of segment.pages) memory[page] = value;
    this.#folded.set(`${cut.hash} ${vm}`, memory);
    return memory;
  }

  segment(hash: string): SimSegment | null { return this.#segments.get(hash) ?? null; }
}
