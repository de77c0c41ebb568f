import type { ImageView } from './restore-view.js';

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

/** Every page of the image that holds data, as page sections of at most `window` pages, one read ahead. What they do not name is zero. */
export async function* imageSections(image: ImageView, window: number): AsyncGenerator<Buffer> {
  const runs = streamRuns(await image.extents(), window);
  const read = (at: number): Promise<Buffer> | null => {
    const run = runs[at];
    if (run === undefined) return null;
    const section = image.read(run.first, run.count);
    // Read ahead: when the reader goes before it is taken, nobody asks how it ended.
    section.catch(() => undefined);
    return section;
  };
  let next = read(0);
  for (let at = 1; next !== null; at += 1) {
    const section = await next;
    next = read(at);
    yield section;
  }
}
