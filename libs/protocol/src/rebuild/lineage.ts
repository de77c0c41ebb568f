import type { CutRef } from '@virtcft/events';
import { endOf, mostCuts, type StoredCut, type StoredGeneration, type StoreView } from '../generations/basis.js';

/** What the store alone says is current. */
export interface StoredLineage {
  /** The newest record; null where the cluster was never started. */
  readonly record: StoredGeneration | null;
  /** The newest cut of its generation, or its basis; null where it booted and nothing was committed since. */
  readonly tip: CutRef | null;
  /** Where there is no tip: the cut whose disks the VMs booted with. */
  readonly disks: CutRef | null;
  /** Cuts in the store that are newer than the tip and do not exist for anybody: of an older generation beyond a basis (R2a), or of a rival. */
  readonly void: readonly CutRef[];
}

const before = (view: StoreView, generation: number): StoredGeneration | null => {
  const older = view.generations.filter((record) => record.generation < generation);
  const highest = Math.max(0, ...older.map((record) => record.generation));
  return mostCuts(older.filter((record) => record.generation === highest), view.cuts);
};

const endBefore = (view: StoreView, generation: number): CutRef | null => {
  const older = before(view, generation);
  return older === null ? null : endOf(older, view.cuts) ?? endBefore(view, older.generation);
};

const newer = (cut: StoredCut, tip: CutRef): boolean => cut.ref.hash !== tip.hash && cut.ref.epoch > tip.epoch;

/**
 * Along hashes from the newest generation record, never by numbers alone (R16). A generation that booted and committed nothing has told the outside
 * nothing: its disks are those of the lineage before it.
 */
export const lineageOf = (view: StoreView): StoredLineage => {
  const record = before(view, Number.POSITIVE_INFINITY);
  if (record === null) return { record, tip: null, disks: null, void: view.cuts.map(({ ref }) => ref) };
  const tip = endOf(record, view.cuts);
  const disks = tip === null ? endBefore(view, record.generation) : null;
  const end = tip ?? disks;
  return { record, tip, disks, void: view.cuts.filter((cut) => end === null || newer(cut, end)).map(({ ref }) => ref) };
};
