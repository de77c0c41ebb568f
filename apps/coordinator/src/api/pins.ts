import { ApiError } from '@virtcft/bus';
import { limits as formats } from '@virtcft/checkpoint';
import type { Pin } from '@virtcft/events';
import { pinsOf, retainedCuts } from '@virtcft/protocol';
import type { z } from 'zod';
import type { ClusterCoordinator } from '../cluster/cluster-coordinator.js';
import type { ObjectStore } from '@virtcft/object-store';
import { olderCut } from '../store/older-cut.js';
import { appendNewest } from './append.js';
import type { PinRequest, UnpinRequest } from './requests.js';

/** Holds a cut against garbage collection until it is unpinned. Throws ApiError `not-found`, `conflict`, `too-many`. */
export async function pin(cluster: ClusterCoordinator, store: ObjectStore, { name, generation, epoch, by }: z.infer<typeof PinRequest>): Promise<Pin> {
  const listed = cluster.cuts.find(generation, epoch);
  const cut = listed ?? (await olderCut(store, cluster.cuts.begins, generation, epoch))?.cut ?? null;
  const kept = listed === null || retainedCuts(cluster.cuts.committed, cluster.state.spec?.retention, pinsOf(cluster.state)).has(listed.hash);
  if (cut === null || !kept) throw new ApiError('not-found', `cluster ${cluster.state.spec?.name ?? ''} has no retained cut ${generation}-${epoch}`, 'list them with "virtcft get cuts"');
  const made = { name, cut, by };
  await appendNewest(cluster, ({ pins }) => {
    const known = pins[name];
    if (known?.cut.hash === cut.hash) return null;
    if (known !== undefined) throw new ApiError('conflict', `pin ${name} holds cut ${known.cut.generation}-${known.cut.epoch}`, 'choose another name, or unpin it first');
    if (Object.keys(pins).length >= formats.definitionPins) throw new ApiError('too-many', `there are ${formats.definitionPins} pins`, 'unpin what is not needed');
    return { type: 'cut.pinned', data: { pin: made } };
  });
  return made;
}

/** Throws ApiError `not-found`. */
export async function unpin(cluster: ClusterCoordinator, { name, by }: z.infer<typeof UnpinRequest>): Promise<{ name: string }> {
  const pins = Object.keys(cluster.state.pins);
  if (!pins.includes(name)) throw new ApiError('not-found', `there is no pin "${name}"`, pins.length === 0 ? '' : `there are: ${pins.join(', ').slice(0, 300)}`);
  await appendNewest(cluster, (state) => (state.pins[name] === undefined ? null : { type: 'cut.unpinned', data: { name, by } }));
  return { name };
}
