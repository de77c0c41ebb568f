import { cutsFrom, cutsPrefix, encodeGeneration, FormatError, generationsPrefix, parseCutKey, parseGeneration, parseManifest, StoredBases, type Manifest } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import { ObjectCorrupt, ObjectMissing, type ObjectStore } from '@virtcft/object-store';
import type { ClusterState, StoredCut, StoredGeneration, StoreView } from '@virtcft/protocol';
import type { Logger } from '@virtcft/telemetry';

/** Step 2 of a raise: what the store holds beyond the log's tip. A listing is a hint: every object it names is read and checked (R14). */
export async function readStoreView(store: ObjectStore, cluster: string, state: ClusterState, log: Logger): Promise<StoreView> {
  const generations = await readGenerations(store, cluster, log);
  const cuts = state.generation === 0 ? [] : await readCuts(store, cluster, state.generation, state.tip?.generation === state.generation ? state.tip.key : cutsFrom(cluster, state.generation, 1), log);
  const newest = Math.max(0, ...generations.map((record) => record.generation));
  if (newest > state.generation) cuts.push(...await readCuts(store, cluster, newest, cutsFrom(cluster, newest, 1), log));
  return { generations, cuts };
}

/** Those that verify. */
export async function readGenerations(store: ObjectStore, cluster: string, log: Logger): Promise<StoredGeneration[]> {
  const records: StoredGeneration[] = [];
  for await (const { key } of store.list(generationsPrefix(cluster))) {
    const record = await unlessDamaged(key, log, async () => parseGeneration(await store.get(key), key));
    if (record !== null) records.push({ generation: record.generation, incarnation: record.incarnation, basis: record.basis });
  }
  return records;
}

/** Complete cuts of one generation whose keys come after `after`: manifests that verify and whose packs are all there. */
export async function readCuts(store: ObjectStore, cluster: string, generation: number, after: string, log: Logger): Promise<StoredCut[]> {
  const cuts: { readonly cut: StoredCut; readonly vms: Manifest['vms'] }[] = [];
  for await (const { key } of store.list(cutsPrefix(cluster, generation), { after })) {
    const named = parseCutKey(key);
    if (named === null) continue;
    const cut = await unlessDamaged(key, log, async () => {
      const manifest = parseManifest(await store.get(key), named.hash);
      for (const pack of manifest.packs) {
        const stat = await store.stat(pack.key);
        if (stat === null || stat.bytes !== pack.bytes) throw new ObjectMissing(pack.key);
      }
      return { cut: { ref: { key, hash: named.hash, generation: manifest.generation, epoch: manifest.epoch }, incarnation: manifest.incarnation, previous: manifest.previous }, vms: manifest.vms };
    });
    if (cut !== null) cuts.push(cut);
  }
  const known = new Set(cuts.map(({ cut }) => cut.ref.hash));
  if (cuts.every(({ cut }) => cut.previous === null || known.has(cut.previous))) return cuts.map(({ cut }) => cut);
  const bases = await StoredBases.list(store, cluster);
  return cuts.map(({ cut, vms }) => ({ ...cut, based: Object.entries(vms).every(([vm, { kind }]) => kind === 'full' || bases.has(cut.ref.hash, vm) || (cut.previous !== null && bases.has(cut.previous, vm))) }));
}

/** What is damaged or incomplete is named in the log and does not exist for a recovery (I4); an unreachable store is another matter and throws. */
async function unlessDamaged<T>(key: string, log: Logger, read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof ObjectMissing || error instanceof ObjectCorrupt)) throw error;
    log.error({ key, err: error }, 'an object of the store is damaged or incomplete and is left out');
    return null;
  }
}

/** Step 3: the store's own word on where a generation begins. Throws ObjectConflict when this incarnation has another basis there. */
export async function writeGeneration(store: ObjectStore, cluster: string, generation: number, incarnation: string, basis: CutRef | null, previous: string | null): Promise<void> {
  const { key, bytes } = encodeGeneration({ format: 'virtcft/generation/1', cluster, generation, incarnation, basis, previous });
  await store.put(key, bytes);
}
