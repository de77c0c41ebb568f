import { mkdir, rm } from 'node:fs/promises';
import { Fill, type FillLog, type PageSource } from '@virtcft/lazy-fill';
import { GuestDisk } from '@virtcft/native';
import { DiskError } from './errors.js';

/** What stays equal along a chain of segments. */
export interface DiskIdentity {
  readonly name: string;
  /** A multiple of 4096. */
  readonly bytes: number;
  /** Hash of the stored image that the chain begins at; null: it begins at a segment that holds everything. */
  readonly image: string | null;
}

/** Where a disk lives on this host. */
export interface DiskPlace {
  /** A folder of this disk's own; made, and removed at `destroy`. */
  readonly directory: string;
  /** Where the hypervisor finds it, by NBD. */
  readonly socket: string;
  readonly log: FillLog;
  /** Makes the native disk; a laboratory's may break a rule on purpose. */
  readonly open?: OpenDisk;
}

export type OpenDisk = (options: ConstructorParameters<typeof GuestDisk>[0]) => GuestDisk;

export interface EncodedDisk extends DiskIdentity {
  /** A page section of blocks. */
  readonly section: Buffer;
  readonly blocks: number;
}

/** Everything that the chain's first segment must hold is here at this epoch. */
const IMAGE_EPOCH = 0;

/**
 * One disk of a VM while the VM stands on this host: served by NBD, in base and layers that follow the VM's cuts (R1). One owner calls in order;
 * `capture` between the VM's stop and its resume.
 */
export class Disk {
  readonly #disk: GuestDisk;
  readonly #place: DiskPlace;
  #fill: Fill | null = null;

  private constructor(readonly identity: DiskIdentity, place: DiskPlace, disk: GuestDisk) {
    this.#place = place;
    this.#disk = disk;
  }

  /** A disk whose content is the private raw file `raw` (taken away) of `identity.bytes`: before the first epoch. */
  static async fromImage(identity: DiskIdentity, place: DiskPlace, raw: string): Promise<Disk> {
    return Disk.#open(identity, place, raw, () => undefined);
  }

  /** A disk of cut `epoch`, usable at once: its blocks come from `source`, first those that are waited for. `onDead`: they never will. */
  static async load(identity: DiskIdentity, place: DiskPlace, epoch: number, source: PageSource, onDead: (reason: string) => void): Promise<Disk> {
    return Disk.#open(identity, place, null, (disk) => {
      disk.#disk.beginFill(epoch);
      disk.#fill = new Fill(disk.#disk, source, identity.bytes / 4096, place.log, onDead);
      disk.#fill.start();
    });
  }

  static async #open(identity: DiskIdentity, place: DiskPlace, image: string | null, begin: (disk: Disk) => void): Promise<Disk> {
    await mkdir(place.directory, { recursive: true, mode: 0o700 });
    const options = { directory: place.directory, bytes: identity.bytes, image };
    const native = place.open?.(options) ?? new GuestDisk(options);
    const disk = new Disk(identity, place, native);
    try {
      begin(disk);
      native.serve(place.socket);
      return disk;
    } catch (error) {
      await disk.destroy();
      throw error;
    }
  }

  /** While its VM is stopped. Throws DiskError `busy` when the hypervisor has not drained it: then this epoch must not be used. */
  async capture(epoch: number): Promise<{ blocks: number }> {
    const { blocks, busy } = await this.#disk.capture(epoch);
    if (busy > 0) throw new DiskError('busy', `disk ${this.identity.name}: ${busy} requests were under way at the cut`);
    return { blocks };
  }

  /** What was written in (parent, epoch]. `parent` null: since the stored image, or everything where there is none. */
  async encode(parent: number | null, epoch: number): Promise<EncodedDisk> {
    const { image } = this.identity;
    if (parent === null && image === null) await this.#fill?.complete;
    const { section, pages } = await this.#disk.encode({ parent: parent ?? (image === null ? null : IMAGE_EPOCH), epoch });
    return { ...this.identity, section, blocks: pages };
  }

  async commit(epoch: number): Promise<void> {
    await this.#disk.fold(epoch);
  }

  /** The hypervisor that used it can write no more; the next one finds the content as of `epoch`. */
  async rollback(epoch: number): Promise<void> {
    await this.#disk.rollback(epoch);
  }

  digest(epoch: number): Promise<string> {
    return this.#disk.digest(epoch);
  }

  /** Whether parts of it are still on their way. */
  get filling(): boolean {
    return this.#fill !== null && !this.#disk.fillStats().done;
  }

  stats(): ReturnType<GuestDisk['stats']> {
    return this.#disk.stats();
  }

  /** Nothing of it is left on this host. */
  async destroy(): Promise<void> {
    await this.#fill?.stop();
    this.#disk.close();
    await Promise.all([rm(this.#place.directory, { recursive: true, force: true }), rm(this.#place.socket, { force: true })]);
  }
}
