import { randomBytes } from 'node:crypto';
import { ApiError } from '@virtcft/bus';
import { FormatError, type Definition } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import { decideRebuild } from '@virtcft/protocol';
import { logger } from '@virtcft/telemetry';
import type { z } from 'zod';
import type { Coordinator } from '../coordinator.js';
import { limits } from '../limits.js';
import { clustersIn, DefinitionsDiffer, readDefinition } from '../store/definitions.js';
import { readFindings } from '../store/findings.js';
import type { RebuildRequest } from './requests.js';

const log = logger('coordinator');

export interface RebuildAnswer {
  readonly dry_run: boolean;
  readonly cluster: string;
  readonly name: string;
  /** Version of the definition that was found. */
  readonly definition: number;
  readonly protected: boolean;
  readonly stopped: boolean;
  /** Of the lineage that was found, and the number above which the next will be: what the store or any agent knows. */
  readonly generation: number;
  readonly highest: number;
  readonly highest_seen: number;
  readonly tip: CutRef | null;
  readonly disks: CutRef | null;
  readonly vms: readonly string[];
  readonly pins: readonly string[];
  /** Cuts in the store that are newer than the tip and do not count, and manifests that are damaged or lack packs: the first of them. */
  readonly void: readonly CutRef[];
  readonly incomplete: readonly string[];
}

/** Makes the log of a cluster anew from the object store alone. Throws ApiError `not-found`, `conflict`, `not-allowed`, `confirmation-needed`. */
export async function rebuild(coordinator: Coordinator, { cluster: which, by, dry_run, confirm }: z.infer<typeof RebuildRequest>): Promise<RebuildAnswer> {
  const { store, offers } = coordinator.context;
  const definition = await lostCluster(coordinator, which);
  const { cluster, spec } = definition;
  const seen = offers.offers().flatMap(({ registration }) => (registration.seen?.cluster === cluster ? [registration.seen.generation] : []));
  const { findings, lineage, incomplete } = await readFindings(store, definition, seen, log);
  const data = decideRebuild(findings, randomBytes(16).toString('hex'), by, lineage);
  const answer: RebuildAnswer = {
    dry_run, cluster, name: spec.name, definition: definition.version, protected: data.protected, stopped: data.stopped, generation: data.generation, highest: data.highest, highest_seen: Math.max(0, ...seen),
    tip: data.tip, disks: data.disks, vms: spec.vms.map(({ name }) => name), pins: data.pins.map(({ name }) => name), void: lineage.void.slice(0, limits.told_objects), incomplete: incomplete.slice(0, limits.told_objects),
  };
  if (dry_run) return answer;
  if (!confirm) {
    throw new ApiError('confirmation-needed', `making the log of cluster ${spec.name} anew loses all that is in no cut up to ${data.tip === null ? 'none' : `${data.tip.generation}-${data.tip.epoch}`}`, 'see it with --dry-run, then confirm it (--yes)');
  }
  if (await coordinator.cluster(cluster).append({ type: 'cluster.rebuilt', data }) === null) {
    throw new ApiError('conflict', `the log of cluster ${spec.name} is not empty any more: another was first`, 'see "virtcft status"');
  }
  return answer;
}

/** The one that is meant, of those that the store knows and the log does not. */
async function lostCluster(coordinator: Coordinator, which: string | null): Promise<Definition> {
  const { store } = coordinator.context;
  const known = which === null ? null : coordinator.find(which);
  if (known !== null) throw new ApiError('not-allowed', `the log of cluster ${known.state.spec?.name ?? which} is there`, 'a rebuild is for a cluster whose log is lost: see "virtcft status"');
  const lost: Definition[] = [];
  const unreadable: string[] = [];
  for (const id of await clustersIn(store)) {
    if (coordinator.find(id) !== null) continue;
    try {
      const definition = await readDefinition(store, id);
      if (definition !== null) lost.push(definition);
      else unreadable.push(`${id} has no definition`);
    } catch (error) {
      if (!(error instanceof FormatError || error instanceof DefinitionsDiffer)) throw error;
      unreadable.push(`the definition of ${id} cannot be used: ${error.message}`);
    }
  }
  const meant = lost.filter(({ cluster, spec }) => which === null || spec.name === which || cluster === which);
  const [only, ...others] = meant;
  if (only === undefined) {
    throw new ApiError('not-found', which === null ? 'the store holds no cluster whose log is lost' : `the store holds no cluster "${which}" whose log is lost`,
      unreadable.length > 0 ? unreadable.join('; ').slice(0, 500) : 'see that the coordinator uses the right object store, and "virtcft status"');
  }
  if (others.length > 0) throw new ApiError('conflict', `${meant.length} clusters have lost their log`, `choose one with --cluster: ${meant.map(({ cluster, spec }) => `${spec.name} (${cluster})`).join(', ')}`);
  const shared = only.spec.hosts.filter((host) => coordinator.all().some(({ state }) => state.hosts[host]?.status === 'admitted'));
  if (shared.length > 0) throw new ApiError('host-in-use', `${shared.join(', ')} serve another cluster`, 'stop that one first: a host serves one cluster');
  return only;
}
