import { decodePack, foldCut, parseManifest, type Pack, type ReplicaFold, type RestoreView } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import { logger } from '@virtcft/telemetry';
import { HttpError } from './http/errors.js';
import { limits } from './limits.js';
import type { RecentPacks } from './recent-packs.js';

const log = logger('replica');

/**
 * The replica of one cluster: its VMs' images folded up to the newest committed cut. A fold waits while
 * a restore reads, so that what it reads is one cut.
 */
export class Replica {
  private fold: ReplicaFold | null = null;
  private queue: Promise<void> = Promise.resolve();
  private wanted: CutRef | null = null;

  constructor(private readonly cluster: string, private readonly folder: string, private readonly store: ObjectStore, private readonly recent: RecentPacks) {}

  /** Where the fold is to stand; intermediate cuts that were never folded are walked through the store. */
  advance(cut: CutRef): void {
    this.wanted = cut;
    this.queue = this.queue.then(() => this.foldTo(cut)).catch((error: unknown) => {
      log.error({ err: error, cluster: this.cluster, cut: cut.key }, 'the fold failed; it is built anew from the store at the next cut');
      return this.discard();
    });
  }

  /** The fold, standing at this cut. Waits for it when it is on its way there. */
  async at(hash: string): Promise<ReplicaFold> {
    if (this.fold?.tip?.hash !== hash && this.wanted?.hash === hash) {
      await Promise.race([this.queue, new Promise((resolve) => setTimeout(resolve, limits.fold_wait_ms).unref())]);
    }
    if (this.fold?.tip?.hash === hash) return this.fold;
    throw new HttpError(503, `the replica does not stand at cut ${hash}; try again, or name the cut that is restored`);
  }

  /** One VM at this cut. While a view is open the fold does not move on: close it. */
  async view(hash: string, vm: string): Promise<RestoreView> {
    const fold = await this.at(hash);
    if (!fold.vms.includes(vm)) throw new HttpError(404, `VM "${vm}" is not in this cut`);
    const view = await fold.restoreView(vm);
    if (view.cut.hash === hash) return view;
    view.close();
    throw new HttpError(503, `the replica has moved on from cut ${hash}`);
  }

  async close(): Promise<void> {
    await this.queue;
    await this.discard();
  }

  private async foldTo(cut: CutRef): Promise<void> {
    if (this.fold?.tip?.hash === cut.hash) return;
    const manifest = parseManifest(await this.store.get(cut.key), cut.hash);
    if (this.fold !== null && manifest.previous !== null && this.fold.tip?.hash === manifest.previous) {
      await this.fold.apply(manifest, await Promise.all(manifest.packs.map(({ key }) => this.pack(key))));
      return;
    }
    // The first cut, a rewind, or one missed: from the store, on top of what the folder holds of this lineage.
    await this.discard();
    this.fold = await foldCut(this.store, cut, this.folder);
  }

  private async pack(key: string): Promise<Pack> {
    return this.recent.take(key) ?? decodePack(await this.store.get(key));
  }

  private async discard(): Promise<void> {
    const { fold } = this;
    this.fold = null;
    await fold?.close();
  }
}
