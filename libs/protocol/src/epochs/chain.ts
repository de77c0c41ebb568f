import type { SegmentRef } from '@virtcft/events';

/** The first missing parent of a segment's chain, or null when the chain is stored down to the tip or to a full segment (R2). */
export const missingParent = (segment: SegmentRef, stored: ReadonlyMap<string, SegmentRef>, tip: string | null): string | null => {
  let at = segment;
  for (let steps = 0; steps <= stored.size; steps++) {
    if (at.kind === 'full') return null;
    if (at.parent === null) return at.hash;
    if (at.parent === tip) return null;
    const parent = stored.get(at.parent);
    if (parent === undefined || parent.vm !== at.vm) return at.parent;
    at = parent;
  }
  return segment.hash;
};
