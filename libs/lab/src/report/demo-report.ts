import { CutRef, Generation, Name } from '@virtcft/events';
import { z } from 'zod';
import { commonKeys } from './heading.js';
import { Distribution } from './distribution.js';

/** What a cluster was doing when a host died. */
export const phases = [
  'idle', 'paused', 'captured', 'part-stored', 'manifest-not-logged', 'committed-not-released', 'syncing', 'recovering',
] as const;
export const Phase = z.enum(phases);
export type Phase = z.infer<typeof Phase>;

/** A power cut; or a host that stands still for ten seconds and wakes when the cluster has gone on without it. */
export const failureKinds = ['kill', 'freeze'] as const;
export const FailureKind = z.enum(failureKinds);
export type FailureKind = z.infer<typeof FailureKind>;

export const Failure = z.object({
  host: Name,
  kind: FailureKind,
  /** What it was aimed at, and what it was, by the log. */
  aimed: Phase, phase: Phase,
  /** All from the failure on. */
  detect_ms: z.number(), fence_ms: z.number(), load_ms: z.number(), total_ms: z.number(),
  /** First reply to a request sent after the failure on a new connection. */
  first_answer_ms: z.number().nullable(),
  /** The cut that the cluster went back to, and the generation it went on in. */
  cut: CutRef, generation: Generation,
});
export type Failure = z.infer<typeof Failure>;

/** Fewer checks than `checks_min` count as violated. */
export const Invariant = z.object({
  name: z.string(), statement: z.string(), checks: z.int().min(0), checks_min: z.int().min(1), violations: z.int().min(0), detail: z.array(z.string()),
});
export type Invariant = z.infer<typeof Invariant>;

export const DemoReport = z.object({
  schema: z.literal('virtcft/report/demo/1'),
  ...commonKeys,
  backend: z.enum(['qemu', 'xen']), tracker: z.string(), seed: z.int().min(0), interval_ms: z.number(), store: z.string(),
  hosts: z.array(z.string()), vms: z.array(z.object({ name: Name, memory_mib: z.int(), role: z.string() })),
  epochs: z.object({
    committed: z.int().min(0), aborted: z.int().min(0),
    /** Per VM and cut; cuts with a full compare (I5) are not among them. */
    pause_ms: Distribution, gap_ms: Distribution, commit_ms: Distribution, dirty_bytes: Distribution, stored_bytes: Distribution,
  }),
  client: z.object({ acked: z.int().min(0), lost: z.int().min(0), p50_ms: z.number().nullable(), p99_ms: z.number().nullable() }),
  failures: z.array(Failure),
  invariants: z.array(Invariant),
  timeline: z.array(z.object({ at_ms: z.number(), text: z.string() })),
  /** Why the run ended early, when it did. */
  broken_off: z.string().nullable(),
});
export type DemoReport = z.infer<typeof DemoReport>;
