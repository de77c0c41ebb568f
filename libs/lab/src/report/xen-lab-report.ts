import { Name } from '@virtcft/events';
import { z } from 'zod';
import { Invariant } from './demo-report.js';
import { commonKeys } from './heading.js';

/** Of `npm run lab:xen`: Xen hosts under emulation, joined. Its times show that it works and what is dear; they promise nothing of real machines. */
export const XenLabReport = z.object({
  schema: z.literal('virtcft/report/xen-lab/1'),
  ...commonKeys,
  hosts: z.array(z.string()), vms: z.array(z.object({ name: Name, memory_mib: z.int(), role: z.string(), host: z.string() })),
  /** Whether an agent protected the cluster: without one nothing of a destroyed host comes back. */
  protected: z.boolean(),
  /** From the start of the run on; null: it did not come to that. */
  hosts_up_ms: z.number().nullable(), guests_up_ms: z.number().nullable(),
  invariants: z.array(Invariant),
  timeline: z.array(z.object({ at_ms: z.number(), text: z.string() })),
  /** Why the run ended early, when it did. */
  broken_off: z.string().nullable(),
});
export type XenLabReport = z.infer<typeof XenLabReport>;
