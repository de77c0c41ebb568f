import { encodeManifest, parseManifest } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import { ObjectCorrupt, type ObjectStore } from '@virtcft/object-store';
import type { CutContent } from '@virtcft/protocol';

/** A manifest that is durable and was read back; its `epoch.committed` may be appended (R12). */
export interface WrittenCut {
  readonly content: CutContent;
  readonly ref: CutRef;
}

export const segmentsOf = (vms: CutContent['vms']): Record<string, string> => Object.fromEntries(Object.entries(vms).map(([vm, { segment }]) => [vm, segment]));

/** Put, then read back, by the store itself where it does so. Throws what the store throws; ObjectCorrupt when it gives back something else. */
export async function writeCut(store: ObjectStore, content: CutContent): Promise<WrittenCut> {
  const { key, hash, bytes } = encodeManifest({ format: 'virtcft/cut/1', ...content, vms: { ...content.vms }, packs: [...content.packs] });
  await store.put(key, bytes);
  // A second reading would lengthen every commit by a round trip.
  if (bytes.length > store.capability.read_back_bytes && !(await store.get(key)).equals(bytes)) throw new ObjectCorrupt(key, 'the manifest that was read back is not the one that was put');
  return { content, ref: { key, hash, generation: content.generation, epoch: content.epoch } };
}

/** The segments of a committed cut, by VM. */
export async function readSegments(store: ObjectStore, cut: CutRef): Promise<Record<string, string>> {
  return segmentsOf(parseManifest(await store.get(cut.key), cut.hash).vms);
}
