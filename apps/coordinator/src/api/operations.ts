import { randomBytes, randomUUID } from 'node:crypto';
import { parseManifest } from '@virtcft/checkpoint';
import { ApiError } from '@virtcft/bus';
import type { ClusterSpec, CutRef } from '@virtcft/events';
import { compareSpecs, pinsOf, retainedCuts, rewind, watcherHost } from '@virtcft/protocol';
import type { z } from 'zod';
import type { ClusterCoordinator } from '../cluster/cluster-coordinator.js';
import type { Coordinator } from '../coordinator.js';
import { limits } from '../limits.js';
import { olderCut } from '../store/older-cut.js';
import type { ApplyRequest, PinRequest, RestoreRequest, UnpinRequest } from './requests.js';
import { appendNewest } from './append.js';
import { pin, unpin } from './pins.js';
import { viewOf } from './view.js';

/** What operators ask for: each verb decides on the cluster's state, appends, and answers with what then holds. */
export class Operations {
  readonly #creating = new Set<string>();

  constructor(private readonly coordinator: Coordinator) {}

  /** Throws `host-in-use`, `not-allowed`, `too-many`, `conflict`. */
  async apply({ spec, by }: z.infer<typeof ApplyRequest>) {
    this.#hostsAreFree(spec);
    const known = this.coordinator.find(spec.name);
    if (known === null) return this.#create(spec);
    if (known.state.stage === 'stopped') {
      await appendNewest(known, () => (known.state.stage === 'stopped' ? { type: 'cluster.changed', data: { spec } } : null));
      return { cluster: known.cluster, name: spec.name, created: false, changed: ['started again'], status: viewOf(known) };
    }
    const { changed, refused } = compareSpecs(known.state.spec ?? spec, spec);
    if (refused.length > 0) {
      throw new ApiError('not-allowed', `cluster ${spec.name}: ${refused.map(({ path }) => path).join(', ')} cannot change now`, refused.map(({ next }) => next).join('; '));
    }
    if (changed.length > 0) await appendNewest(known, () => ({ type: 'cluster.changed', data: { spec } }));
    if (changed.includes('protect')) await this.protect(spec.name, by, spec.protect);
    return { cluster: known.cluster, name: spec.name, created: false, changed, status: viewOf(known) };
  }

  async protect(name: string, by: string, on: boolean) {
    const cluster = this.#found(name);
    await appendNewest(cluster, ({ protected: already }) => (already === on ? null : { type: on ? 'protection.enabled' : 'protection.disabled', data: { by } }));
    return viewOf(cluster);
  }

  async stop(name: string, by: string) {
    const cluster = this.#found(name);
    await appendNewest(cluster, ({ stage }) => (stage === 'stopped' ? null : { type: 'cluster.stopped', data: { by } }));
    return viewOf(cluster);
  }

  /** Throws `not-found`, `confirmation-needed`, `not-now`. */
  async restore({ cluster: name, generation, epoch, by, dry_run, confirm }: z.infer<typeof RestoreRequest>) {
    const cluster = this.#found(name);
    const older = cluster.cuts.find(generation, epoch) === null ? await olderCut(this.coordinator.context.store, cluster.cuts.begins, generation, epoch) : null;
    const cut = older?.cut ?? cluster.cuts.find(generation, epoch);
    if (cut === null) throw new ApiError('not-found', `cluster ${name} has no committed cut ${generation}-${epoch}`, 'list them with "virtcft get cuts"');
    // What is not retained is being removed; a grace keeps it from vanishing between this answer and the raise.
    if (older === null && !retainedCuts(cluster.cuts.committed, cluster.state.spec?.retention, pinsOf(cluster.state)).has(cut.hash)) {
      throw new ApiError('not-found', `cut ${generation}-${epoch} of cluster ${name} is not retained any more`, 'choose another ("virtcft get cuts"), or keep more with "retention" in the cluster file from now on');
    }
    const damage = await cluster.damage.of(cut);
    if (damage !== null) {
      const whole = damage.cut === null ? 'none before it is whole' : `the newest whole one before it is ${damage.cut.generation}-${damage.cut.epoch}`;
      throw new ApiError('conflict', `cut ${generation}-${epoch} cannot be restored: "${damage.key}" is damaged`, `${whole}; or put the object back from a copy of the store`);
    }
    const lost = older === null ? cluster.cuts.lossOf(cut, new Date()) : { epochs: older.after + cluster.cuts.count, seconds: null };
    const vms = await this.#vmsOf(cut);
    if (dry_run) return { dry_run: true, cut, lost, vms };
    if (!confirm) {
      throw new ApiError('confirmation-needed', `going back to ${generation}-${epoch} undoes ${lost.epochs} epochs${lost.seconds === null ? '' : ` (${lost.seconds.toFixed(1)} s)`}, also what the outside has seen`, 'confirm it (--yes)');
    }
    await appendNewest(cluster, (state) => {
      const data = rewind(state, cut, by);
      if (data === null) throw new ApiError('not-now', `cluster ${name} is ${state.stage}`, 'wait until it runs or is halted, then ask again');
      return { type: 'generation.raising', data };
    });
    return { dry_run: false, cut, lost, vms };
  }

  pin(request: z.infer<typeof PinRequest>) { return pin(this.#found(request.cluster), this.coordinator.context.store, request); }

  unpin(request: z.infer<typeof UnpinRequest>) { return unpin(this.#found(request.cluster), request); }

  get(name?: string) {
    return { clusters: (name === undefined ? this.coordinator.all() : [this.#found(name)]).map(viewOf) };
  }

  async #create(spec: ClusterSpec) {
    if (this.coordinator.all().length >= limits.clusters) throw new ApiError('too-many', `there are ${limits.clusters} clusters already`, 'start another coordinator on another bus');
    if (this.#creating.has(spec.name)) throw new ApiError('conflict', `cluster ${spec.name} is being created`, 'try again');
    this.#creating.add(spec.name);
    const id = randomUUID();
    const cluster = this.coordinator.cluster(id);
    try {
      await appendNewest(cluster, () => ({ type: 'cluster.created', data: { log: randomBytes(16).toString('hex'), spec } }));
    } catch (error) {
      this.coordinator.drop(id);
      throw error;
    } finally {
      this.#creating.delete(spec.name);
    }
    return { cluster: id, name: spec.name, created: true, changed: [], status: viewOf(cluster) };
  }

  async #vmsOf(cut: CutRef): Promise<string[]> {
    return Object.keys(parseManifest(await this.coordinator.context.store.get(cut.key), cut.hash).vms);
  }

  /** An agent serves one cluster. */
  #hostsAreFree(spec: ClusterSpec): void {
    if (spec.hosts.includes(watcherHost)) throw new ApiError('not-allowed', `no host may be called "${watcherHost}"`, 'that name is the watcher\'s on the bus: give the host another');
    for (const other of this.coordinator.all()) {
      if (other.state.spec?.name === spec.name) continue;
      const shared = spec.hosts.filter((host) => other.state.hosts[host]?.status === 'admitted');
      if (shared.length > 0) throw new ApiError('host-in-use', `${shared.join(', ')} serve cluster ${other.state.spec?.name} already`, 'name other hosts: a host serves one cluster');
    }
  }

  #found(name: string): ClusterCoordinator {
    const cluster = this.coordinator.find(name);
    if (cluster === null) throw new ApiError('not-found', `there is no cluster "${name}"`, 'list them with "virtcft status"');
    return cluster;
  }
}
