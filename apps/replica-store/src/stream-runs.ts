export interface Run { readonly first: number; readonly count: number }

/**
 * The page ranges that a restore stream reads, from extents (`[first, count]` pairs, flattened): one run per window of `window` pages, from its
 * first to its last page that holds data. A memory is in many small pieces, and a section for each would cost a restore more than the few
 * bytes that a zero page between them does.
 */
export function streamRuns(extents: Uint32Array, window: number): Run[] {
  const runs: { first: number; count: number }[] = [];
  for (let at = 0; at + 1 < extents.length; at += 2) {
    const end = (extents[at] ?? 0) + (extents[at + 1] ?? 0);
    for (let first = extents[at] ?? 0; first < end;) {
      const edge = first - (first % window) + window;
      const upTo = Math.min(end, edge);
      const last = runs.at(-1);
      if (last !== undefined && last.first >= edge - window) last.count = upTo - last.first;
      else runs.push({ first, count: upTo - first });
      first = upTo;
    }
  }
  return runs;
}
