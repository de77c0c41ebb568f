import type { Report } from '@virtcft/events';
import type { Guest } from './guest.js';
import type { SimSegment } from './store.js';
import type { OpenCut } from './switch.js';
import type { World } from './world.js';

interface Upload { readonly epoch: number; readonly generation: number; readonly segments: readonly string[]; readonly cut: OpenCut }

/** What the uploads want to know of their host, and tell it. */
export interface UploadsOwner {
  readonly world: World;
  readonly host: string;
  readonly agent: string;
  readonly alive: boolean;
  readonly guests: ReadonlyMap<string, Guest>;
  report(report: Report): Promise<void>;
  stored(epoch: number): void;
}

/** The cuts of one host on their way to the store, one after the other: the parent is the last segment stored (R2a). */
export class SimUploads {
  /** The last stored segment of each VM; `epoch` null: it is the restored cut's. */
  #stored = new Map<string, { readonly epoch: number | null; readonly hash: string }>();
  #waiting: Upload[] = [];
  #busy = false;

  constructor(private readonly owner: UploadsOwner) {}

  /** Nothing of the generation before is tried any more. */
  giveUp(): void { this.#waiting = []; }

  /** Every chain begins anew: at the segment of the basis, or with a full one. Returns what was stored last. */
  restart(): ReadonlyMap<string, { readonly hash: string }> {
    const before = this.#stored;
    this.#stored = new Map();
    return before;
  }

  follow(vm: string, hash: string): void { this.#stored.set(vm, { epoch: null, hash }); }

  add(epoch: number, generation: number, cut: OpenCut, vms: readonly string[]): void {
    this.#waiting.push({ epoch, generation, segments: [...this.owner.guests.keys()].filter((vm) => vms.includes(vm)), cut });
  }

  /** What is not stored of this epoch never will be; the mutant of R1. */
  drop(epoch: number): void { this.#waiting = this.#waiting.filter((upload) => upload.epoch !== epoch); }

  async run(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    for (let next = this.#waiting[0]; this.owner.alive && next !== undefined && next.cut.waiting.size === 0; next = this.#waiting[0]) await this.#store(next);
    this.#busy = false;
  }

  async #store(upload: Upload): Promise<void> {
    const { owner } = this;
    const { world, host, agent } = owner;
    const { epoch, generation, cut } = upload;
    const encoded = upload.segments.flatMap((vm) => this.#encode(vm, epoch));
    const key = `packs/${generation}-${epoch}-${host}-${world.random.hex(8)}`;
    await world.store.put(key, { pack: { segments: encoded, frames: cut.frames, down: cut.down } });
    if (!owner.alive || this.#waiting[0] !== upload) return;
    this.#waiting.shift();
    for (const segment of encoded) {
      this.#stored.set(segment.vm, { epoch, hash: segment.hash });
      owner.guests.get(segment.vm)?.forget(epoch);
    }
    owner.stored(epoch);
    await owner.report({
      type: 'segments.stored',
      data: {
        host, agent, generation, epoch, pack: { key, hash: world.random.hex(64), bytes: 1 },
        segments: encoded.map(({ hash, vm, parent, kind }) => ({ vm, hash, parent, kind, runState: 'running', memory_bytes: 4_096, dirty_pages: 1, disks: [] })),
        channels: { frames: cut.frames.length, down: cut.down }, pauses: [], verified: { checks: 0, differing: 0 }, nics: [],
      },
    });
  }

  #encode(vm: string, epoch: number): SimSegment[] {
    const { world, guests } = this.owner;
    const guest = guests.get(vm);
    if (guest === undefined) return [];
    const parent = this.#stored.get(vm) ?? null;
    const { pages, memory, device } = guest.encode(parent === null ? null : (parent.epoch ?? 0), epoch);
    const segment: SimSegment = { hash: world.random.hex(64), vm, parent: parent?.hash ?? null, kind: parent === null ? 'full' : 'delta', pages, device };
    world.captured(segment, memory);
    return [segment];
  }
}
