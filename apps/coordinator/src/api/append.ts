import { ApiError } from '@virtcft/bus';
import type { Decision } from '@virtcft/events';
import type { ClusterState } from '@virtcft/protocol';
import type { ClusterCoordinator } from '../cluster/cluster-coordinator.js';

/** Decides on the newest state until it is in the log, or there is nothing to do. Throws ApiError `conflict`, and what `decide` throws. */
export async function appendNewest(cluster: ClusterCoordinator, decide: (state: ClusterState) => Decision | null): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    const decision = decide(cluster.state);
    if (decision === null || await cluster.append(decision) !== null) return;
  }
  throw new ApiError('conflict', 'other decisions were always first', 'try again');
}
