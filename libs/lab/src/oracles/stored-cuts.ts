import { parsePackKey, readCut, verifyCut, type ObjectSource, type ReplicaFold } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import type { Oracle } from './oracle.js';

const KEPT_BYTES = 512 * 1024 * 1024; // a run of the demo's length; beyond it objects are read again

/** Reads every object of the store once, for cuts share most of their lineage. */
export function readOnce(store: ObjectStore): ObjectSource {
  const kept = new Map<string, Promise<Buffer>>();
  let bytes = 0;
  return {
    get(key, range) {
      if (range !== undefined) return store.get(key, range);
      const known = kept.get(key);
      if (known !== undefined) return known;
      const read = store.get(key);
      if (bytes > KEPT_BYTES) return read;
      kept.set(key, read);
      return read.then((body) => {
        bytes += body.length;
        return body;
      });
    },
    list: (prefix, options) => store.list(prefix, options),
  };
}

/** I4: the cut can be restored from the object store alone; every object of its lineage is read and every hash checked. `examine` sees it folded. */
export async function checkCut(store: ObjectSource, cut: CutRef, oracle: Oracle, examine: (fold: ReplicaFold) => Promise<void>): Promise<void> {
  const verdict = await verifyCut(store, cut, { examine });
  oracle.check(verdict.ok, () => verdict.ok ? '' : `cut ${cut.generation}-${cut.epoch}: ${verdict.key}: ${verdict.reason}`);
}

/** I3 in the store: a cut names only packs that its own generation wrote; what a fenced host stored is in none. */
export async function checkPacks(store: ObjectSource, cut: CutRef, oracle: Oracle): Promise<void> {
  const { manifest } = await readCut(store, cut);
  for (const { key } of manifest.packs) {
    oracle.check(parsePackKey(key)?.generation === manifest.generation, () => `cut ${cut.generation}-${cut.epoch} names ${key}, which is of another generation`);
  }
}
