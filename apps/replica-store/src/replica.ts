import { BaseImages, decodePack, foldCut, parseManifest, resolvePack, type Pack, type ReadSection, type ReplicaFold, type RestoreView } from '@virtcft/checkpoint';
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
  private images: Promise<BaseImages> | null = null;
  private wanted: CutRef | null = null;
  /** Folds that wait or run. */
  private folding = 0;
  private readonly sections: ReadSection;
  private readonly streams = new Set<() => void>();

  /** The folders are this cluster's own; what an earlier run left in `folder` is taken up when it can be trusted, `imagesFolder` is emptied. */
  constructor(private readonly cluster: string, private readonly folder: string, private readonly imagesFolder: string, private readonly store: ObjectStore, private readonly recent: RecentPacks) {
    this.sections = recent.sections(store);
  }

  /** Where the fold is to stand; intermediate cuts that were never folded are walked through the store. */
  advance(cut: CutRef): void {
    this.wanted = cut;
    this.folding += 1;
    this.queue = this.queue.then(() => this.foldTo(cut)).catch((error: unknown) => {
      log.error({ err: error, cluster: this.cluster, cut: cut.key }, 'the fold failed; it is tried again at the next cut, or when this one is asked for');
      return this.leave();
    }).finally(() => { this.folding -= 1; });
  }

  /** A raise made `cut` the basis: who still streams another one does so for a generation that ended, and must not keep the fold there. */
  restart(cut: CutRef): void {
    if (this.fold?.tip?.hash !== cut.hash) for (const end of [...this.streams]) end();
    this.advance(cut);
  }

  /** Calls `end` when a raise makes a stream void; returns what ends that. */
  streaming(end: () => void): () => void {
    this.streams.add(end);
    return () => { this.streams.delete(end); };
  }

  /** The fold, standing at this cut. Waits for it when it is on its way there. */
  async at(hash: string): Promise<ReplicaFold> {
    if (this.fold?.tip?.hash !== hash && this.wanted?.hash === hash) {
      if (this.folding === 0) this.advance(this.wanted);
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
    for (const end of [...this.streams]) end();
    await this.queue;
    await this.leave();
  }

  /** An image that a memory will begin with is fetched ahead of the cut that names it, so that the fold does not stop for it; true when it is here. */
  async prepare(hash: string): Promise<boolean> { return (await this.baseImages()).prepare(hash); }

  private baseImages(): Promise<BaseImages> {
    return this.images ??= BaseImages.open({ folder: this.imagesFolder, source: this.store, cluster: this.cluster, bound_bytes: limits.base_image_bytes });
  }

  private async foldTo(cut: CutRef): Promise<void> {
    if (this.fold?.tip?.hash === cut.hash) return;
    const manifest = parseManifest(await this.store.get(cut.key), cut.hash);
    if (this.fold !== null && manifest.previous !== null && this.fold.tip?.hash === manifest.previous) {
      await this.fold.apply(manifest, await Promise.all(manifest.packs.map(({ key }) => this.pack(key))));
      return;
    }
    // The first cut, a rewind, or one missed: from the store, and from what the folder holds of this lineage.
    await this.leave();
    this.fold = await foldCut(this.store, cut, this.folder, { images: await this.baseImages() });
  }

  private async pack(key: string): Promise<Pack> {
    return this.recent.take(key) ?? resolvePack(decodePack(await this.store.get(key)), this.sections);
  }

  private async leave(): Promise<void> {
    const { fold } = this;
    this.fold = null;
    await fold?.close();
  }
}
