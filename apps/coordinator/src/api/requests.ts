import { ClusterSpec, Epoch, Generation, Name } from '@virtcft/events';
import { z } from 'zod';

/** A cluster's name or its id. */
const Which = z.string().min(1).max(60);
const By = z.string().min(1).max(180).default('an operator');

export const ApplyRequest = z.object({ spec: ClusterSpec, by: By });
export const GetRequest = z.object({ cluster: Which.optional() }).nullable();
export const ProtectRequest = z.object({ cluster: Which, by: By });
export const StopRequest = z.object({ cluster: Which, by: By });
export const RestoreRequest = z.object({
  cluster: Which, generation: Generation, epoch: Epoch, by: By,
  /** Only tell what would be lost. */
  dry_run: z.boolean().default(false),
  /** A time travel undoes what the outside has seen: it must be said. */
  confirm: z.boolean().default(false),
});
export const RebuildRequest = z.object({
  /** Name or id; null: the only one that the store knows and the log does not. */
  cluster: Which.nullable().default(null), by: By,
  dry_run: z.boolean().default(false),
  /** What was not in a committed cut is lost: it must be said. */
  confirm: z.boolean().default(false),
});
export const PinRequest = z.object({ cluster: Which, name: Name, generation: Generation, epoch: Epoch, by: By });
export const UnpinRequest = z.object({ cluster: Which, name: Name, by: By });
