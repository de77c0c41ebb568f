import { z } from 'zod';
import { ClusterSpec } from './cluster-spec.js';
import { ClusterId, CutRef, Name, RunState } from './names.js';

/** What `virtcft` tells the drill program, as one line of JSON on its standard input. The program ends when that input is closed. */
export const DrillPlan = z.strictObject({
  /** Of the drill, and of the pin that holds its cut. */
  id: Name,
  cluster: ClusterId,
  cut: CutRef,
  /** As the cluster is defined now: the cut holds no kernels and command lines. */
  spec: ClusterSpec,
  /** A command for the shell, run where the guests can be reached; null: that they run is the check. */
  check: z.strictObject({ command: z.string().min(1).max(10_000), timeout_s: z.int().min(1).max(86_400) }).nullable(),
  /** Without a check: for how long the guests are watched. */
  settle_s: z.int().min(1).max(3_600),
  /** Whether the guests go on after the check, until the program is ended. */
  keep: z.boolean(),
  /** A folder of the machine, below which the images of the cut are made. */
  directory: z.string().regex(/^\//, 'give an absolute path').max(500),
  /** The check's own on the guests' network; null: a free one beside theirs. */
  address: z.ipv4().nullable(),
});
export type DrillPlan = z.infer<typeof DrillPlan>;

/** How the check ended, with the last that it said. */
export const DrillCheck = z.strictObject({ exit_code: z.int().nullable(), signal: z.string().nullable(), timed_out: z.boolean(), check_ms: z.number(), tail: z.string() });
export type DrillCheck = z.infer<typeof DrillCheck>;

export const DrillResult = z.strictObject({
  ok: z.boolean(),
  /** Why not. */
  reason: z.string().nullable(),
  /** `began`: the state in the cut; `ended`: when the drill was over, `exited` where the hypervisor had ended. */
  vms: z.array(z.strictObject({ vm: Name, address: z.ipv4().nullable(), began: RunState, ended: z.enum([...RunState.options, 'exited']) })),
  /** From the store to images of the cut; from these to guests that can run. */
  fold_ms: z.number(), load_ms: z.number(),
  check: DrillCheck.nullable(),
});
export type DrillResult = z.infer<typeof DrillResult>;

/** What the drill program says, a line of JSON each on its standard output. */
export const DrillMessage = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('progress'), text: z.string() }),
  /** Of the check. */
  z.strictObject({ kind: z.literal('output'), text: z.string() }),
  z.strictObject({ kind: z.literal('result'), result: DrillResult }),
  /** It cannot be done here, or not at all. */
  z.strictObject({ kind: z.literal('refused'), message: z.string(), next: z.string() }),
  /** The last one: what stood and stands no more. */
  z.strictObject({ kind: z.literal('torn-down'), what: z.array(z.string()) }),
]);
export type DrillMessage = z.infer<typeof DrillMessage>;
