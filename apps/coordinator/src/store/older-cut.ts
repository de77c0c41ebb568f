import { CutBroken, walkCuts } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';

/** A cut from before the log was made anew, and how many cuts came after it until then: found along the hashes, so that no void cut is taken. Null where there is none. */
export async function olderCut(store: ObjectStore, begins: CutRef | null, generation: number, epoch: number): Promise<{ readonly cut: CutRef; readonly after: number } | null> {
  if (begins === null || epoch > begins.epoch) return null;
  let after = 0;
  try {
    for await (const { ref } of walkCuts(store, begins)) {
      if (ref.generation === generation && ref.epoch === epoch) return { cut: ref, after };
      if (ref.epoch <= epoch) return null;
      after++;
    }
  } catch (error) {
    // What cannot be reached from the tip any more was let go, or is damaged: it cannot be restored.
    if (!(error instanceof CutBroken)) throw error;
  }
  return null;
}
