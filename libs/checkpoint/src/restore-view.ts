import type { CutRef } from '@virtcft/events';
import type { ReplicaImage } from '@virtcft/native';
import type { VmTip } from './fold-tip.js';
import { expandDevice } from './segment.js';
import type { SegmentDisk } from './segment.js';

/** What a restore reads of a memory or of a disk, in pages (or blocks) of 4096 bytes, as long as the view is open. */
export interface ImageView {
  readonly bytes: number;
  /** Pages [first, first + count) as one page section of raw and zero kinds. */
  read(first: number, count: number): Promise<Buffer>;
  /** Page ranges that hold data, as [first, count] pairs, flattened. */
  extents(): Promise<Uint32Array>;
  /** SHA-256 of all. */
  digest(): Promise<string>;
}

/** One VM at one cut, for a restore. The fold does not move on while it is open: close it. */
export class RestoreView {
  /** Its memory. */
  readonly memory: ImageView;
  readonly #disks: ReadonlyMap<string, ReplicaImage>;
  readonly #end: () => void;
  readonly #tip: VmTip;
  #open = true;

  constructor(readonly vm: string, readonly cut: CutRef, tip: VmTip, images: { readonly memory: ReplicaImage; readonly disks: ReadonlyMap<string, ReplicaImage> }, end: () => void) {
    [this.#tip, this.#disks, this.#end] = [tip, images.disks, end];
    this.memory = this.#view(images.memory, tip.memory_bytes);
  }

  /** Of the capture: the cut's, unless the VM's state was captured at an earlier one. */
  get epoch(): number {
    return this.#tip.epoch;
  }
  /** Hash of the VM's segment: the parent of the first one after the restore (R2a). */
  get segment(): string {
    return this.#tip.segment;
  }
  /** Host at the cut. */
  get host(): string {
    return this.#tip.host;
  }
  get runState(): VmTip['runState'] {
    return this.#tip.runState;
  }
  get identity(): VmTip['identity'] {
    return this.#tip.identity;
  }
  get memory_bytes(): number {
    return this.#tip.memory_bytes;
  }

  /** In the order in which the guest sees them. */
  get disks(): readonly SegmentDisk[] {
    return this.#tip.disks;
  }

  /** Throws RangeError for an unknown one. */
  disk(name: string): ImageView {
    const image = this.#disks.get(name);
    if (image === undefined) throw new RangeError(`"${this.vm}" has no disk "${name}"`);
    return this.#view(image, this.#tip.disks.find((disk) => disk.name === name)?.bytes ?? 0);
  }

  device(): Promise<Buffer> {
    return expandDevice(Buffer.from(this.#tip.device, 'base64'), this.#tip.device_bytes);
  }


  close(): void {
    this.#open = false;
    this.#end();
  }

  #view(image: ReplicaImage, bytes: number): ImageView {
    const pinned = (): ReplicaImage => {
      if (!this.#open) throw new RangeError(`the view of "${this.vm}" is closed`);
      return image;
    };
    return {
      bytes,
      read: async (first, count) => pinned().read({ first, count }),
      extents: async () => pinned().extents(),
      digest: async () => pinned().digest(),
    };
  }
}
