import type { ClusterView } from '../view.js';

type Seen = Pick<ClusterView, 'stage' | 'generation'>;

/** Why a drill that began with the cluster as `then` must end with it as `now`; null: it may go on (R26). */
export function givesWay(then: Seen, now: Seen): string | null {
  if (now.generation !== then.generation) return `the cluster is raised to generation ${now.generation}`;
  return now.stage === 'running' ? null : `the cluster is ${now.stage}`;
}
