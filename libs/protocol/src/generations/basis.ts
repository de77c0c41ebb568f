import type { CutRef, Decision, DecisionData } from '@virtcft/events';
import type { ClusterState } from '../cluster/state.js';
import { limits } from '../limits.js';
import { raise } from './raise.js';

/** A generation record of the store. */
export interface StoredGeneration {
  readonly generation: number;
  readonly incarnation: string;
  readonly basis: CutRef | null;
}

/** A manifest found in the store whose packs are all there. */
export interface StoredCut {
  readonly ref: CutRef;
  readonly incarnation: string;
  readonly previous: string | null;
  /** It can be restored without the cut before it, which may be gone as garbage (R23): every VM has a base at one of the two, or begins in it. */
  readonly based?: boolean;
}

/** What step 2 of a raise read, after `generation.raising` was in the log (R16). */
export interface StoreView {
  readonly generations: readonly StoredGeneration[];
  readonly cuts: readonly StoredCut[];
  /** Where the basis rests on an object that is damaged (R18): the newest cut that does not, null when there is none. */
  readonly damage?: { readonly of: string; readonly cut: CutRef | null; readonly key: string } | null;
}

/** Follows children of `from` within one incarnation: a manifest without its event is adopted when its parent is the tip. */
export const adopt = (from: CutRef | null, incarnation: string, generation: number, cuts: readonly StoredCut[]): CutRef | null => {
  let tip = from;
  for (let steps = 0; steps < cuts.length; steps++) {
    const child = cuts
      .filter((cut) => cut.incarnation === incarnation && cut.ref.generation === generation && cut.previous === (tip?.hash ?? null))
      .filter((cut) => tip === null || tip.generation !== generation || cut.ref.epoch > tip.epoch)
      .sort((a, b) => b.ref.epoch - a.ref.epoch || (a.ref.hash < b.ref.hash ? -1 : 1))[0];
    if (child === undefined) return tip;
    tip = child.ref;
  }
  return tip;
};

/**
 * Where the lineage of a generation ends. Of a cut that a retention let go nothing is left (R23): what follows the gap belongs to the same lineage when it can be
 * restored without it, since bases are made of committed cuts alone.
 */
export const endOf = ({ basis, incarnation, generation }: StoredGeneration, cuts: readonly StoredCut[]): CutRef | null => {
  const own = cuts.filter((cut) => cut.incarnation === incarnation && cut.ref.generation === generation);
  const known = new Set([basis?.hash, ...own.map(({ ref }) => ref.hash)]);
  const behindGaps = own.filter(({ previous, based }) => based === true && previous !== null && !known.has(previous)).map(({ ref }) => ref);
  const ends = [basis, ...behindGaps].flatMap((from) => adopt(from, incarnation, generation, cuts) ?? []);
  return ends.sort((a, b) => b.generation - a.generation || b.epoch - a.epoch)[0] ?? null;
};

/** Of several records of one number the one that was gone on with. */
export const mostCuts = (records: readonly StoredGeneration[], cuts: readonly StoredCut[]): StoredGeneration | null => {
  const cutsOf = (record: StoredGeneration): number => cuts.filter((cut) => cut.incarnation === record.incarnation).length;
  return [...records].sort((a, b) => cutsOf(b) - cutsOf(a) || (a.incarnation < b.incarnation ? -1 : 1))[0] ?? null;
};

/** Records above what the log knows mean that the log lost its end: the lineage then starts at the newest of them (R14, R16). */
const beyondLog = (state: ClusterState, view: StoreView): StoredGeneration | null => {
  const newest = view.generations.filter((record) => record.generation > state.generation).sort((a, b) => b.generation - a.generation);
  return mostCuts(newest.filter((record) => record.generation === newest[0]?.generation), view.cuts);
};

/** The basis: the tip of the lineage. Null when nothing was ever committed. */
export const chooseBasis = (state: ClusterState, view: StoreView): CutRef | null => {
  const asked = state.raising?.cause.cut ?? null;
  if (asked !== null) return asked;
  const record = beyondLog(state, view);
  if (record !== null) return endOf(record, view.cuts);
  return adopt(state.tip, state.incarnation ?? '', state.generation, view.cuts);
};

export type RaiseStep =
  /** Another coordinator is at it. */
  | { readonly kind: 'wait'; readonly until_ms: number }
  | { readonly kind: 'append'; readonly decision: Decision }
  /** Put the generation record, then append, with the clocks' offset at that moment (`clockAhead_ms`). */
  | { readonly kind: 'raised'; readonly data: Omit<DecisionData<'generation.raised'>, 'ahead_ms'> };

/**
 * Steps 3 and 4 of a raise. Only the author of `generation.raising` finishes it; anybody else raises again after a while, so that two
 * never write records of one number (R16). `since_ms`: when this coordinator learnt of the raise.
 */
export const decideRaise = (
  state: ClusterState, view: StoreView, incarnation: string, own: boolean, since_ms: number, now_ms: number,
): RaiseStep => {
  const raising = state.raising;
  if (raising === null) return { kind: 'wait', until_ms: Number.POSITIVE_INFINITY };
  const again = (detail: string): RaiseStep => ({
    kind: 'append', decision: { type: 'generation.raising', data: raise(state, { ...raising.cause, kind: 'takeover', lost: [], detail }) },
  });
  if (!own) {
    const until_ms = since_ms + limits.takeover_ms;
    return now_ms < until_ms ? { kind: 'wait', until_ms } : again(`the raise to generation ${raising.generation} was not finished`);
  }
  // Its own record from a try whose append met another decision does not count.
  const others: StoreView = { ...view, generations: view.generations.filter((record) => record.incarnation !== incarnation) };
  const highest = Math.max(0, ...others.generations.map((record) => record.generation));
  if (highest >= raising.generation) {
    const data = raise({ ...state, highestGeneration: highest }, { ...raising.cause, kind: 'takeover', lost: [], detail: `the store knows generation ${highest} already` });
    return { kind: 'append', decision: { type: 'generation.raising', data } };
  }
  const halt = (reason: DecisionData<'cluster.halted'>['reason'], detail: string): RaiseStep => ({
    kind: 'append', decision: { type: 'cluster.halted', data: { generation: raising.generation, reason, detail } },
  });
  const chosen = chooseBasis(state, others);
  const damage = chosen !== null && view.damage?.of === chosen.hash ? view.damage : null;
  const basis = damage === null ? chosen : damage.cut;
  if (damage !== null && chosen !== null) {
    const why = `cut ${chosen.generation}-${chosen.epoch} cannot be restored, since "${damage.key}" is damaged`;
    if (basis === null) return halt('data-loss', `${why}, and so can none before it: put it back from a copy of the store, then "virtcft restore --cut ${chosen.generation}-${chosen.epoch}"`);
    const instead = `${basis.generation}-${basis.epoch}`;
    if (raising.cause.cut !== null) return halt('data-loss', `${why}: the newest whole one before it is ${instead}, "virtcft restore --cut ${instead}"`);
    const policy = state.spec?.policies.data_loss ?? 'halt';
    if (policy === 'halt') return halt('data-loss', `${why}: put it back from a copy of the store, or lose what came after ${instead} with "virtcft restore --cut ${instead}"`);
    if (!raising.lossDecided) return { kind: 'append', decision: { type: 'cluster.data-lost', data: { generation: raising.generation, released: chosen, basis, policy } } };
  }
  if (basis === null) {
    return halt('no-cut', `nothing can be restored, since no cut was committed yet (${raising.cause.detail.slice(0, 300)}): see to that, then "virtcft stop" and apply the cluster file again`);
  }
  const asked = raising.cause.cut;
  if (asked !== null && !raising.rewound) return { kind: 'append', decision: { type: 'cluster.rewound', data: { cut: asked, by: raising.cause.detail.slice(0, 200) } } };
  const allowed = state.spec?.policies.recovery_attempts ?? 1;
  if (asked === null && basis.hash === state.tip?.hash && state.attempts >= allowed) {
    return halt('recovery-attempts', `${state.attempts} recoveries of cut ${basis.generation}-${basis.epoch} failed: see the hosts' logs, then restore a cut by hand`);
  }
  if (asked === null && state.outrun && !raising.lossDecided) {
    const policy = state.spec?.policies.data_loss ?? 'halt';
    if (policy === 'halt') return halt('data-loss', `output left after cut ${basis.generation}-${basis.epoch} while protection was off: restore it by hand if that may be lost`);
    const released = state.tip ?? basis;
    return { kind: 'append', decision: { type: 'cluster.data-lost', data: { generation: raising.generation, released, basis, policy } } };
  }
  return { kind: 'raised', data: { generation: raising.generation, incarnation, basis } };
};
