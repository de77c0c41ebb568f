import { z } from 'zod';

export const Machine = z.object({
  cores: z.int().min(1), kernel: z.string(), accel: z.string(), tracker: z.string(), qemu: z.string(),
  /** Share of all CPU time that was idle in the second before the run: how quiet the machine was. */
  idle_cpu: z.number().min(0).max(1),
});
export type Machine = z.infer<typeof Machine>;

/** The load as the guests and clients were given it; a report without its load says nothing. */
export const Load = z.object({
  name: z.string(),
  guest: z.record(z.string(), z.number()),
  client: z.object({ clients: z.int().min(0), keys: z.int().min(1), value_bytes: z.int().min(1), rate_per_s: z.number().min(0), seed: z.int().min(0) }),
});
export type Load = z.infer<typeof Load>;

/** Keys that every report has. */
export const commonKeys = {
  commit: z.string(),
  machine: Machine,
  params: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.array(z.string())])),
  load: Load,
  ok: z.boolean(),
} as const;
