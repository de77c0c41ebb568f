import type { CutRef } from '@virtcft/events';
import type { ReplicaImage } from '@virtcft/native';
import type { VmTip } from './fold-tip.js';
import { expandDevice } from './segment.js';

/** One VM at one cut, for a restore. The fold does not move on while it is open: close it. */
export class RestoreView {
  readonly #image: ReplicaImage;
  readonly #end: () => void;
  readonly #tip: VmTip;
  #open = true;

  constructor(readonly vm: string, readonly cut: CutRef, tip: VmTip, image: ReplicaImage, end: () => void) {
    [this.#tip, this.#image, this.#end] = [tip, image, end];
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

  device(): Promise<Buffer> {
    return expandDevice(Buffer.from(this.#tip.device, 'base64'), this.#tip.device_bytes);
  }

  /** Pages [first, first + count) as one page section of raw and zero kinds. */
  async read(first: number, count: number): Promise<Buffer> {
    return this.#pinned().read({ first, count });
  }

  /** Page ranges that hold data, as [first, count] pairs, flattened. */
  async extents(): Promise<Uint32Array> {
    return this.#pinned().extents();
  }

  /** SHA-256 of the memory. */
  async digest(): Promise<string> {
    return this.#pinned().digest();
  }

  close(): void {
    this.#open = false;
    this.#end();
  }

  #pinned(): ReplicaImage {
    if (!this.#open) throw new RangeError(`the view of "${this.vm}" is closed`);
    return this.#image;
  }
}
