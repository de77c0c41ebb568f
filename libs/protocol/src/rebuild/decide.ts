import type { ClusterSpec, DecisionData, Placement } from '@virtcft/events';
import { admittedHosts, type ClusterState } from '../cluster/state.js';
import { raise, type Raising } from '../generations/raise.js';
import { limits } from '../limits.js';
import type { StoreView } from '../generations/basis.js';
import type { DefinitionContent } from './definition.js';
import { lineageOf, type StoredLineage } from './lineage.js';

/** What was read from the store, and what agents said, after the log was found to be lost. */
export interface Findings {
  /** The definition of the highest version. */
  readonly definition: DefinitionContent;
  /** All generation records, and the complete cuts of the newest generations. */
  readonly view: StoreView;
  /** Where the VMs of the lineage's tip ran, as its manifest says. */
  readonly placement: Placement;
  /** The highest epoch that any object of the store is of. */
  readonly epoch: number;
  /** Generations of this cluster that agents have seen. */
  readonly seen: readonly number[];
}

export type Rebuilt = DecisionData<'cluster.rebuilt'>;

/** The highest generation that anybody can know of: no number is ever used twice, whatever was lost (R16). */
export const highestKnown = ({ view, seen }: Pick<Findings, 'view' | 'seen'>): number => Math.max(0, ...view.generations.map(({ generation }) => generation), ...view.cuts.map(({ ref }) => ref.generation), ...seen);

/** The first decision of the new log. Pure: two who rebuild from the same store decide the same, but for `log`, and one append wins. */
export const decideRebuild = (findings: Findings, log: string, by: string, lineage: StoredLineage = lineageOf(findings.view)): Rebuilt => {
  const { definition: { spec, protected: on, stopped, version, pins }, placement, epoch } = findings;
  const { record, tip, disks } = lineage;
  return {
    log, spec, protected: on, stopped, definition: version, pins: [...pins], generation: record?.generation ?? 0, incarnation: record?.incarnation ?? null, highest: highestKnown(findings),
    tip, disks, placement: tip === null ? {} : { ...firstPlaces(spec), ...placement }, epoch: Math.max(epoch, tip?.epoch ?? 0, disks?.epoch ?? 0) + (record === null ? 0 : limits.rebuilt_epochs), by,
  };
};

/** A VM that the tip does not hold was syncing when the log was lost (R20): it is begun anew, at first where its file places it. */
const firstPlaces = ({ vms, hosts }: ClusterSpec): Placement => Object.fromEntries(vms.map(({ name, host }) => [name, host ?? hosts[0] ?? '']));

export type ReturnStep =
  | { readonly kind: 'raise'; readonly data: Raising }
  /** Shown in the status. */
  | { readonly kind: 'wait'; readonly waitsFor: string; readonly until_ms: number | null };

/** After a rebuild: a recovery onto the tip, when the hosts that ran it are there or were waited for, so that no VM moves without need. `asked_ms`: when the log was made anew. */
export const decideReturn = (state: ClusterState, asked_ms: number, now_ms: number): ReturnStep => {
  const admitted = new Set(admittedHosts(state).map(({ host }) => host));
  const wanted = [...new Set(Object.values(state.placement))].sort();
  const absent = wanted.filter((host) => !admitted.has(host));
  const until_ms = asked_ms + limits.start_grace_ms;
  if (admitted.size === 0) return { kind: 'wait', waitsFor: `hosts ${absent.join(', ')}`, until_ms: null };
  if (absent.length > 0 && now_ms < until_ms) return { kind: 'wait', waitsFor: `hosts ${absent.join(', ')}`, until_ms };
  // What left while protection was off is lost by the rebuild, which said so and was confirmed: a decision of its own in the log.
  const cut = state.outrun ? state.tip : null;
  return { kind: 'raise', data: raise(state, { kind: 'rebuild', lost: [], vms: [], detail: 'the log was lost and made anew from the object store', cut }) };
};
