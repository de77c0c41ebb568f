import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CutRef } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import type { StoredDecision } from '@virtcft/bus';
import { HttpError } from './http/errors.js';
import { limits } from './limits.js';
import type { RecentPacks } from './recent-packs.js';
import { Replica } from './replica.js';

export interface ListedCut extends CutRef { readonly vms: number; readonly time: string }

interface Known { readonly replica: Replica; readonly cuts: ListedCut[]; tip: CutRef | null; vms: number }

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

  /** Newest first. */
  cuts(cluster: string, limit: number): ListedCut[] | null {
    return this.known.get(cluster)?.cuts.slice(-limit).reverse() ?? null;
  }

  /** The cut of this number, or the newest; null when none is. */
  cut(cluster: string, of: { readonly generation: number; readonly epoch: number } | null): CutRef | null {
    const known = this.known.get(cluster);
    if (of === null) return known?.tip ?? null;
    const found = known?.cuts.findLast(({ generation, epoch }) => generation === of.generation && epoch === of.epoch);
    return found === undefined ? null : { key: found.key, hash: found.hash, generation: found.generation, epoch: found.epoch };
  }

  onDecision({ cluster, decision, time }: StoredDecision): void {
    if (decision.type === 'cluster.created') {
      const replica = new Replica(cluster, join(this.dataDir, 'replicas', cluster), join(this.dataDir, 'images', cluster), this.store, this.recent);
      this.known.set(cluster, { replica, cuts: [], tip: null, vms: decision.data.spec.vms.length });
    }
    const known = this.known.get(cluster);
    if (known === undefined) return;
    if (decision.type === 'cluster.started') known.vms = Object.keys(decision.data.placement).length;
    const cut = decision.type === 'epoch.committed' ? decision.data.cut : decision.type === 'generation.raised' ? decision.data.basis : null;
    if (cut === null) return;
    if (decision.type === 'epoch.committed') known.cuts.push({ ...cut, vms: known.vms, time: time.toISOString() });
    if (known.cuts.length > limits.remembered_cuts * 1.25) known.cuts.splice(0, known.cuts.length - limits.remembered_cuts);
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
