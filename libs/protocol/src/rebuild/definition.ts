import type { ClusterSpec, Pin } from '@virtcft/events';
import type { ClusterState } from '../cluster/state.js';

/** What the object store holds of a cluster beside its cuts and generations, so that the log can be made anew from it. No time in it. */
export interface DefinitionContent {
  readonly cluster: string;
  /** Grows with every change; the highest is the one that holds. */
  readonly version: number;
  readonly spec: ClusterSpec;
  readonly protected: boolean;
  readonly stopped: boolean;
  /** By name. */
  readonly pins: readonly Pin[];
}

/** A pure function of the log's fold, so that every coordinator writes the same bytes. Null before the cluster is created. */
export const definitionOf = (cluster: string, state: ClusterState): DefinitionContent | null => (state.spec === null ? null : {
  cluster, version: state.definition, spec: state.spec, protected: state.protected, stopped: state.stage === 'stopped',
  pins: Object.values(state.pins).sort((a, b) => (a.name < b.name ? -1 : 1)),
});
