import { z } from 'zod';

/** What a figure was over `n` samples. Null where there were none. */
export const Distribution = z.object({ n: z.int().min(0), p50: z.number().nullable(), p99: z.number().nullable(), max: z.number().nullable() });
export type Distribution = z.infer<typeof Distribution>;

/** Nearest-rank percentiles: each figure is one that was really measured. */
export function distribution(samples: readonly number[]): Distribution {
  const sorted = samples.toSorted((a, b) => a - b);
  const rank = (share: number): number | null => round(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null);
  return { n: sorted.length, p50: rank(0.5), p99: rank(0.99), max: round(sorted.at(-1) ?? null) };
}

/** Ours / theirs, both measured in the same run. */
export function ratio(ours: number | null, theirs: number | null): number | null {
  return ours === null || theirs === null || theirs === 0 ? null : round(ours / theirs);
}

function round(value: number): number;
function round(value: number | null): number | null;
function round(value: number | null): number | null { return value === null ? null : Math.round(value * 1000) / 1000; }
