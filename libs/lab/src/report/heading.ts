import { z } from 'zod';
import { Load } from '../guests.js';

export const Machine = z.object({
  cores: z.int().min(1), kernel: z.string(), accel: z.string(), tracker: z.string(), qemu: z.string(),
  /** Share of all CPU time that was idle in the second before the run: how quiet the machine was. */
  idle_cpu: z.number().min(0).max(1),
});
export type Machine = z.infer<typeof Machine>;

/** Keys that every report has. */
export const commonKeys = {
  commit: z.string(),
  machine: Machine,
  params: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.array(z.string())])),
  /** As the guests and clients were given it; a figure without its load says nothing. */
  load: Load,
  ok: z.boolean(),
} as const;
