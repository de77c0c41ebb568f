import { parsePackKey, readCut, verifyCut } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import type { Oracle } from './oracle.js';

/** I4: the cut can be restored from the object store alone; every object of its lineage is read and every hash checked. */
export async function checkCut(store: ObjectStore, cut: CutRef, oracle: Oracle): Promise<void> {
  const verdict = await verifyCut(store, cut);
  oracle.check(verdict.ok, () => verdict.ok ? '' : `cut ${cut.generation}-${cut.epoch}: ${verdict.key}: ${verdict.reason}`);
}

/** I3 in the store: a cut names only packs that its own generation wrote; what a fenced host stored is in none. */
export async function checkPacks(store: ObjectStore, cut: CutRef, oracle: Oracle): Promise<void> {
  const { manifest } = await readCut(store, cut);
  for (const { key } of manifest.packs) {
    oracle.check(parsePackKey(key)?.generation === manifest.generation, () => `cut ${cut.generation}-${cut.epoch} names ${key}, which is of another generation`);
  }
}
