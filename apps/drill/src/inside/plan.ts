import { DrillPlan } from '@virtcft/events';
import { z } from 'zod';

/** What the outer program tells the one in the namespaces, once the cut lies folded in `folder`. */
export const InsidePlan = z.strictObject({ plan: DrillPlan, folder: z.string(), fold_ms: z.number(), qemu: z.string() });
export type InsidePlan = z.infer<typeof InsidePlan>;

/** Progress that says that the check is over and the guests stay; the outer program knows how to get to them. */
export const kept = 'kept';
