import { ReferredSections, type ObjectSource, type Pack, type ReadSection } from '@virtcft/checkpoint';
import { limits } from './limits.js';

interface Held { readonly stored: Pack; readonly whole: Pack; readonly bytes: number }

/** The packs stored last, so that a fold need not read them back, nor those that follow what they refer to. */
export class RecentPacks {
  private readonly waiting = new Bounded(limits.recent_pack_bytes);
  /** Folded already: others may refer to them. */
  private readonly folded = new Bounded(limits.referred_pack_bytes);

  /** `whole`: with the pages that it refers to. */
  add(stored: Pack, whole: Pack): void {
    const added = whole === stored ? 0 : whole.segments.reduce((sum, { pages }) => sum + pages.length, 0);
    this.waiting.add({ stored, whole, bytes: stored.bytes.length + added });
  }

  /** For the one fold of it: the pack with the pages that it refers to. */
  take(key: string): Pack | null {
    const held = this.waiting.remove(key);
    if (held !== null) this.folded.add({ stored: held.stored, whole: held.stored, bytes: held.stored.bytes.length });
    return held?.whole ?? null;
  }

  /** The sections of these, and of all others from the store. */
  sections(store: ObjectSource): ReadSection {
    const referred = new ReferredSections(store, limits.referred_pack_bytes);
    return (reference) => {
      const pack = (this.waiting.get(reference.pack) ?? this.folded.get(reference.pack))?.stored;
      return pack?.segments.find(({ hash }) => hash === reference.segment)?.pages ?? referred.read(reference);
    };
  }
}

/** The oldest go when there are more bytes than the bound. */
class Bounded {
  private readonly packs = new Map<string, Held>();
  private held_bytes = 0;

  constructor(private readonly bound_bytes: number) {}

  get(key: string): Held | undefined { return this.packs.get(key); }

  add(held: Held): void {
    this.remove(held.stored.key);
    this.packs.set(held.stored.key, held);
    this.held_bytes += held.bytes;
    for (const oldest of this.packs.keys()) {
      if (this.held_bytes <= this.bound_bytes) break;
      this.remove(oldest);
    }
  }

  remove(key: string): Held | null {
    const held = this.packs.get(key);
    if (held === undefined) return null;
    this.packs.delete(key);
    this.held_bytes -= held.bytes;
    return held;
  }
}
