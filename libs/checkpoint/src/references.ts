import { resolveReferences, sha256 } from '@virtcft/native';
import { FormatError } from './format-error.js';
import { limits } from './limits.js';
import { concerning } from './object-source.js';
import type { ObjectSource } from './object-source.js';
import type { Pack, PackReference } from './pack.js';
import { decodeSegment } from './segment.js';
import type { Segment } from './segment.js';

/** Gives the page section of the segment that lies there. Throws CutBroken with the key of its pack. */
export type ReadSection = (reference: PackReference) => Promise<Buffer> | Buffer;

const nameBytes = 32;

/** Names of the segments that a page section refers to, by its head alone (docs/formats/page-section.md): whether it is one is another's to check. */
export function sourcesOf(section: Buffer): string[] {
  if (section.length < 40 || section.toString('latin1', 0, 4) !== 'VCPS' || section.readUInt16LE(4) < 4) return [];
  const from = 40 + 4 * section.readUInt32LE(12) + 28 * section.readUInt32LE(16);
  const count = section.readUInt32LE(32);
  if (from + count * nameBytes > section.length) throw new FormatError('page section', `its ${count} sources end beyond it`);
  return Array.from({ length: count }, (_, at) => section.toString('hex', from + at * nameBytes, from + (at + 1) * nameBytes));
}

/** The segment with the pages in it that it refers to; `hash` and `bytes` are as stored. Throws FormatError, EBADSECTION, and what `read` throws. */
export async function resolveSegment(segment: Segment, references: readonly PackReference[], read: ReadSection): Promise<Segment> {
  const names = sourcesOf(segment.pages);
  if (names.length === 0) return segment;
  const sources = await Promise.all(names.map((name) => {
    const reference = references.find((each) => each.segment === name);
    if (reference === undefined) throw new FormatError('pack index', `it does not tell where segment ${name} lies, which that of "${segment.header.vm}" refers to`);
    return read(reference);
  }));
  return { ...segment, pages: await resolveReferences(segment.pages, sources) };
}

/** The pack with all its segments whole. */
export async function resolvePack(pack: Pack, read: ReadSection): Promise<Pack> {
  if (pack.references.length === 0) return pack;
  return { ...pack, segments: await Promise.all(pack.segments.map((segment) => resolveSegment(segment, pack.references, read))) };
}

/** Sections that others refer to, from a store. The last ones are kept: neighbours refer to the same. */
export class ReferredSections {
  readonly #kept = new Map<string, Buffer>();
  #kept_bytes = 0;

  constructor(private readonly source: ObjectSource, private readonly bound_bytes: number = limits.referredBytes) {}

  async read({ pack, segment, offset, length }: PackReference): Promise<Buffer> {
    const kept = this.#kept.get(segment);
    if (kept !== undefined) return kept;
    const { pages } = await concerning(pack, async () => {
      const bytes = await this.source.get(pack, { offset, length });
      return decodeSegment(bytes, segment, await sha256(bytes));
    });
    this.#keep(segment, pages);
    return pages;
  }

  #keep(segment: string, pages: Buffer): void {
    if (this.#kept.has(segment)) return;
    this.#kept.set(segment, pages);
    this.#kept_bytes += pages.length;
    for (const [oldest, { length }] of this.#kept) {
      if (this.#kept_bytes <= this.bound_bytes) break;
      this.#kept.delete(oldest);
      this.#kept_bytes -= length;
    }
  }
}
