import { cutsFrom, cutsPrefix, packsPrefix, parseCutKey, parseManifest, parsePackKey, type Definition } from '@virtcft/checkpoint';
import type { ObjectStore } from '@virtcft/object-store';
import { lineageOf, mostCuts, type Findings, type StoredCut, type StoredGeneration, type StoredLineage } from '@virtcft/protocol';
import type { Logger } from '@virtcft/telemetry';
import { limits } from '../limits.js';
import { readCuts, readGenerations } from './view.js';

/** What a rebuild of one cluster would rest on, and what of the store it would leave behind. */
export interface ClusterFindings {
  readonly findings: Findings;
  readonly lineage: StoredLineage;
  /** Manifests beyond the tip that are damaged, or whose packs are not all there. */
  readonly incomplete: readonly string[];
}

/** Reads what the store alone knows of a cluster; every object is checked, and damaged ones do not count (I4). Throws what the store throws. */
export async function readFindings(store: ObjectStore, definition: Definition, seen: readonly number[], log: Logger): Promise<ClusterFindings> {
  const { cluster } = definition;
  const records = await readGenerations(store, cluster, log);
  const numbers = [...new Set(records.map(({ generation }) => generation))].sort((a, b) => b - a);
  const cuts: StoredCut[] = [];
  const generations: StoredGeneration[] = [];
  const incomplete: string[] = [];
  let epoch = 0;
  let found = false;
  let lineage = lineageOf({ generations, cuts });
  for (const generation of numbers) {
    const of = records.filter((record) => record.generation === generation);
    epoch ||= Math.max(await lastEpoch(store, cutsPrefix(cluster, generation), (key) => parseCutKey(key)?.epoch), await lastEpoch(store, packsPrefix(cluster, generation), (key) => parsePackKey(key)?.epoch));
    const tail = await readTail(store, cluster, generation, of, log);
    cuts.push(...tail.cuts);
    generations.push(...tail.generations);
    incomplete.push(...tail.incomplete);
    lineage = lineageOf({ generations, cuts });
    // A generation that committed nothing leads to the one before it; one more is read for its void cuts to be told.
    if (found) break;
    found = lineage.tip !== null || lineage.disks !== null;
  }
  const { tip } = lineage;
  const placement = tip === null ? {} : Object.fromEntries(Object.entries(parseManifest(await store.get(tip.key), tip.hash).vms).map(([vm, { host }]) => [vm, host]));
  return { findings: { definition, view: { generations: [...generations, ...records.filter(({ generation }) => !generations.some((each) => each.generation === generation))], cuts }, placement, epoch, seen }, lineage, incomplete };
}

/**
 * The newest cuts of a generation. A generation may have millions; where it began before those that are read, its record is given as if it began with the first of them:
 * the coordinator writes a manifest only behind the tip, so all of one incarnation are one lineage.
 */
async function readTail(store: ObjectStore, cluster: string, generation: number, records: readonly StoredGeneration[], log: Logger): Promise<{ cuts: StoredCut[]; generations: StoredGeneration[]; incomplete: string[] }> {
  const last = await lastEpoch(store, cutsPrefix(cluster, generation), (key) => parseCutKey(key)?.epoch);
  const from = Math.max(1, last - limits.rebuild_epochs);
  const after = cutsFrom(cluster, generation, from);
  const cuts = await readCuts(store, cluster, generation, after, log);
  const incomplete: string[] = [];
  for await (const { key } of store.list(cutsPrefix(cluster, generation), { after })) if (!cuts.some(({ ref }) => ref.key === key)) incomplete.push(key);
  const newest = mostCuts(records, cuts);
  if (newest === null || from === 1) return { cuts, generations: [...records], incomplete };
  const [first] = cuts.filter(({ incarnation }) => incarnation === newest.incarnation);
  if (first === undefined) return { cuts: await readCuts(store, cluster, generation, cutsFrom(cluster, generation, 1), log), generations: [...records], incomplete };
  return { cuts, generations: records.map((record) => (record === newest ? { ...record, basis: first.ref } : record)), incomplete };
}

/** Of the last key with this prefix, 0 where there is none. Asks for some forty keys, however many there are. */
async function lastEpoch(store: ObjectStore, prefix: string, epochOf: (key: string) => number | undefined): Promise<number> {
  const firstFrom = async (epoch: number): Promise<number> => {
    for await (const { key } of store.list(prefix, { after: `${prefix}${String(epoch).padStart(12, '0')}`, limit: 1 })) return epochOf(key) ?? 0;
    return 0;
  };
  let last = await firstFrom(1);
  for (let step = 1, end = Number.POSITIVE_INFINITY; last > 0; ) {
    // Doubling while there is more, then halving what is left between.
    const probe = Number.isFinite(end) ? last + Math.ceil((end - last) / 2) : last + step;
    if (probe >= end) return last;
    const found = await firstFrom(probe);
    if (found > last) { last = found; step *= 2; } else end = probe;
  }
  return last;
}
