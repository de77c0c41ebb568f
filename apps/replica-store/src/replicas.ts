import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CutRef } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import type { StoredDecision } from '@virtcft/bus';
import { evolve, initialState, pinsOf, retainedCuts, type ClusterState } from '@virtcft/protocol';
import type { Told } from './collector.js';
import { HttpError } from './http/errors.js';
import { limits } from './limits.js';
import type { RecentPacks } from './recent-packs.js';
import { Replica } from './replica.js';

export interface ListedCut extends CutRef { readonly vms: number; readonly time: string }

interface Known {
  readonly replica: Replica;
  readonly cuts: ListedCut[];
  tip: CutRef | null;
  vms: number;
  state: ClusterState;
  /** Key of the first cut that is still in `cuts`, when older ones were dropped. */
  since: string;
}

/** The replicas of all clusters, kept at their newest committed cut by the decisions. */
export class Replicas {
  private readonly known = new Map<string, Known>();
  private live = false;

  private constructor(private readonly dataDir: string, private readonly store: ObjectStore, private readonly recent: RecentPacks) {}

  /** Images of an earlier run are taken up where they verify, else folded anew. */
  static async open(dataDir: string, store: ObjectStore, recent: RecentPacks): Promise<Replicas> {
    await mkdir(join(dataDir, 'replicas'), { recursive: true, mode: 0o700 });
    return new Replicas(dataDir, store, recent);
  }

  of(cluster: string): Replica {
    if (!this.live) throw new HttpError(503, 'the log is still being read; try again');
    const known = this.known.get(cluster);
    if (known === undefined) throw new HttpError(404, `cluster ${cluster} is not known here`);
    return known.replica;
  }

  get clusters(): string[] { return this.live ? [...this.known.keys()] : []; }

  /** What the log says of a cluster now; null when it is not known. */
  told(cluster: string): Told | null {
    const known = this.known.get(cluster);
    return known === undefined || !this.live ? null : { cluster, state: known.state, cuts: [...known.cuts], since: known.since };
  }

  /** Those that are retained, newest first. */
  cuts(cluster: string, limit: number): ListedCut[] | null {
    const known = this.known.get(cluster);
    if (known === undefined) return null;
    const { retention } = known.state.spec ?? {};
    if (retention === undefined) return known.cuts.slice(-limit).reverse();
    const kept = retainedCuts(known.cuts.map(({ hash, time }) => ({ hash, time_ms: Date.parse(time) })), retention, pinsOf(known.state));
    return known.cuts.filter(({ hash }) => kept.has(hash)).slice(-limit).reverse();
  }

  /** The cut of this number, or the newest; null when none is. */
  cut(cluster: string, of: { readonly generation: number; readonly epoch: number } | null): CutRef | null {
    const known = this.known.get(cluster);
    if (of === null) return known?.tip ?? null;
    const found = known?.cuts.findLast(({ generation, epoch }) => generation === of.generation && epoch === of.epoch);
    return found === undefined ? null : { key: found.key, hash: found.hash, generation: found.generation, epoch: found.epoch };
  }

  onDecision({ cluster, decision, time }: StoredDecision): void {
    if (decision.type === 'cluster.created' || decision.type === 'cluster.rebuilt') {
      const replica = new Replica(cluster, join(this.dataDir, 'replicas', cluster), join(this.dataDir, 'images', cluster), this.store, this.recent);
      // Of the cuts up to its tip a log that was made anew tells nothing: no policy judges them.
      const before = decision.type === 'cluster.rebuilt' ? decision.data.tip ?? decision.data.disks : null;
      this.known.set(cluster, { replica, cuts: [], tip: null, vms: decision.data.spec.vms.length, state: initialState, since: before === null ? '' : `${before.key}~` });
    }
    const known = this.known.get(cluster);
    if (known === undefined) return;
    known.state = evolve(known.state, decision);
    if (decision.type === 'cluster.started') known.vms = Object.keys(decision.data.placement).length;
    const cut = decision.type === 'epoch.committed' ? decision.data.cut : decision.type === 'generation.raised' ? decision.data.basis : decision.type === 'cluster.rebuilt' ? decision.data.tip : null;
    if (cut === null) return;
    if (decision.type === 'epoch.committed') known.cuts.push({ ...cut, vms: known.vms - known.state.syncing.length, time: time.toISOString() });
    if (known.cuts.length > limits.remembered_cuts * 1.25) {
      known.cuts.splice(0, known.cuts.length - limits.remembered_cuts);
      known.since = known.cuts[0]?.key ?? '';
    }
    known.tip = cut;
    if (!this.live) return;
    if (decision.type === 'generation.raised') known.replica.restart(cut);
    else known.replica.advance(cut);
  }

  /** The log was read to its end: only now is it worth folding. */
  caughtUp(): void {
    this.live = true;
    for (const { replica, tip } of this.known.values()) if (tip !== null) replica.advance(tip);
  }

  async close(): Promise<void> {
    await Promise.all([...this.known.values()].map(({ replica }) => replica.close()));
  }
}
