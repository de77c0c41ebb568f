import type { Pack } from '@virtcft/checkpoint';
import { limits } from './limits.js';

/** The packs stored last, so that a fold need not read them back. */
export class RecentPacks {
  private readonly packs = new Map<string, { pack: Pack; bytes: number }>();
  private held_bytes = 0;

  add(key: string, pack: Pack, bytes: number): void {
    this.take(key);
    this.packs.set(key, { pack, bytes });
    this.held_bytes += bytes;
    for (const oldest of this.packs.keys()) {
      if (this.held_bytes <= limits.recent_pack_bytes) break;
      this.take(oldest);
    }
  }

  /** Removes and returns it. */
  take(key: string): Pack | null {
    const held = this.packs.get(key);
    if (held === undefined) return null;
    this.packs.delete(key);
    this.held_bytes -= held.bytes;
    return held.pack;
  }
}
