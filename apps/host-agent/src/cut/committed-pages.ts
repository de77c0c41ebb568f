import type { PackReference } from '@virtcft/checkpoint';
import { PageCatalog } from '@virtcft/native';
import { limits } from '../limits.js';

/** A page section of a pack that is stored. */
export interface StoredSection { readonly reference: PackReference; readonly section: Buffer }

/**
 * What later segments of this host may refer to: pages of its packs of this generation, once their epochs are committed (R2), and no longer than garbage waits.
 * `commit` and whoever encodes take turns: what an encoder referred to is still known when it is asked for.
 */
export class CommittedPages {
  readonly catalog = new PageCatalog();
  /** Not committed yet, oldest first. */
  private waiting: (StoredSection & { readonly epoch: number })[] = [];
  private waiting_bytes = 0;
  /** As the catalog has them: oldest first. */
  private known: { readonly reference: PackReference; readonly since_ms: number }[] = [];
  private life = 0;

  constructor(private readonly now_ms: () => number = () => performance.now()) {}

  stored(epoch: number, sections: readonly StoredSection[]): void {
    for (const each of sections) {
      if (each.section.length > limits.catalogued_section_bytes) continue;
      this.waiting.push({ ...each, epoch });
      this.waiting_bytes += each.section.length;
    }
    while (this.waiting_bytes > limits.uncommitted_section_bytes) this.waiting_bytes -= this.waiting.shift()?.section.length ?? 0;
  }

  /** `epoch` is committed, and with it all that was stored before. */
  async commit(epoch: number): Promise<void> {
    const { life } = this;
    for (let first = this.waiting[0]; first !== undefined && first.epoch <= epoch; first = this.waiting[0]) {
      this.waiting.shift();
      this.waiting_bytes -= first.section.length;
      const { pages } = await this.catalog.add({ segment: first.reference.segment, section: first.section });
      // Forgotten meanwhile, and added behind that.
      if (life !== this.life) return this.catalog.clear();
      if (pages > 0) this.known.push({ reference: first.reference, since_ms: this.now_ms() });
      while (this.known.length > this.catalog.sources) this.known.shift();
    }
  }

  /** Before an encoder begins. */
  expire(): void {
    const young = this.known.findIndex(({ since_ms }) => this.now_ms() - since_ms < limits.reference_age_ms);
    const old = young < 0 ? this.known.length : young;
    this.catalog.drop(old);
    this.known.splice(0, old);
  }

  /** Where the segments of these names lie. */
  referencesTo(names: Iterable<string>): PackReference[] {
    const known = new Map(this.known.map(({ reference }) => [reference.segment, reference]));
    return [...new Set(names)].map((name) => {
      const reference = known.get(name);
      if (reference === undefined) throw new Error(`segment ${name} is referred to, and is not known`);
      return reference;
    });
  }

  /** Another generation, or a store that does not have what it had: nothing is referred to. */
  forget(): void {
    this.life += 1;
    this.waiting = [];
    this.waiting_bytes = 0;
    this.known = [];
    this.catalog.clear();
  }

  close(): void { this.catalog.close(); }
}
