import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseManifest } from '@virtcft/checkpoint';
import { Disk, importSource, type DiskIdentity, type DiskPlace, type OpenDisk } from '@virtcft/disk';
import type { CutRef, DiskDefinition, VmDefinition } from '@virtcft/events';
import type { VmDisk } from '@virtcft/hypervisor';
import type { Logger } from '@virtcft/telemetry';
import { patiently } from '../recovery/patiently.js';
import type { ReplicaClient } from '../recovery/replica-client.js';

export interface DisksOptions {
  /** For the content of disks; emptied when the agent starts (R20). */
  readonly directory: string;
  /** For their sockets, whose paths are short. */
  readonly sockets: string;
  readonly replicas: ReplicaClient;
  readonly log: Logger;
  readonly open?: OpenDisk;
}

/** Makes the disks of a VM that is to stand on this host, from its images or from a cut. */
export class DisksOnHost {
  constructor(private readonly options: DisksOptions) {}

  /** What an earlier life left is nobody's. */
  async sweep(): Promise<void> {
    await Promise.all([this.options.directory, this.options.sockets].map(async (folder) => {
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { recursive: true, mode: 0o700 });
    }));
  }

  /**
   * Before the VM's first instruction. A disk that `cut` has is what the guests wrote until then. Of any other its image is copied once, stored under
   * its hash, and the copy is the disk: the image itself is never booted. Throws DiskError for an image that cannot be taken, ReplicaStoreRefused; waits
   * while the store is away.
   */
  async boot(cluster: string, vm: VmDefinition, cut: CutRef | null, signal: AbortSignal, onDead: (reason: string) => void): Promise<Disk[]> {
    const known = cut === null ? [] : await this.disksAt(cluster, vm, cut, signal);
    return this.all(vm.disks, async (definition, index) => {
      const kept = known.find(({ name }) => name === definition.name);
      if (cut === null || kept === undefined) return this.fromImage(cluster, vm, definition, index, signal);
      // Its chain begins anew, with a segment that holds all of it.
      const identity = { name: kept.name, bytes: kept.bytes, image: null };
      return Disk.load(identity, this.place(vm, kept.name, index), cut.epoch, this.options.replicas.blocks(cluster, cut, vm.name, kept.name), onDead);
    });
  }

  /** As the cut has them; usable at once, filled while they are used. `onDead`: a disk whose source failed for good. */
  async load(cluster: string, vm: VmDefinition, cut: CutRef, disks: readonly DiskIdentity[], onDead: (reason: string) => void): Promise<Disk[]> {
    return this.all(disks, (identity, index) => Disk.load(identity, this.place(vm, identity.name, index), cut.epoch, this.options.replicas.blocks(cluster, cut, vm.name, identity.name), onDead));
  }

  /** As the hypervisor is to find them. */
  attachments(vm: VmDefinition, disks: readonly Disk[]): VmDisk[] {
    return disks.map(({ identity: { name, bytes } }, index) => ({ name, bytes, socket: this.socket(vm, index) }));
  }

  private async disksAt(cluster: string, vm: VmDefinition, cut: CutRef, signal: AbortSignal): Promise<readonly Pick<DiskIdentity, 'name' | 'bytes'>[]> {
    const manifest = parseManifest(await patiently(signal, this.options.log, () => this.options.replicas.manifest(cluster, cut, signal)), cut.hash);
    return manifest.vms[vm.name]?.disks ?? [];
  }

  private async fromImage(cluster: string, vm: VmDefinition, { name, source, format }: DiskDefinition, index: number, signal: AbortSignal): Promise<Disk> {
    const { directory, replicas, log } = this.options;
    const raw = join(directory, `${vm.name}-${name}.importing`);
    await rm(raw, { force: true });
    const bytes = await importSource({ source, format }, raw);
    log.info({ vm: vm.name, disk: name, bytes }, 'storing the image of a disk');
    const image = await replicas.uploadImage(cluster, raw, bytes, { signal });
    log.info({ vm: vm.name, disk: name, image }, 'the image of a disk is stored');
    return Disk.fromImage({ name, bytes, image }, this.place(vm, name, index), raw);
  }

  private place(vm: VmDefinition, disk: string, index: number): DiskPlace {
    const { open } = this.options;
    return { ...(open === undefined ? {} : { open }), directory: join(this.options.directory, vm.name, disk), socket: this.socket(vm, index), log: (message, fields) => this.options.log.info({ vm: vm.name, disk, ...fields }, message) };
  }

  private socket(vm: VmDefinition, index: number): string { return join(this.options.sockets, `${vm.mac.replaceAll(':', '')}-${index}`); }

  /** All or none: what was made before one failed is destroyed. */
  private async all<T>(wanted: readonly T[], make: (each: T, index: number) => Promise<Disk>): Promise<Disk[]> {
    const made = await Promise.allSettled(wanted.map(make));
    const failed = made.find((each) => each.status === 'rejected');
    const disks = made.flatMap((each) => each.status === 'fulfilled' ? [each.value] : []);
    if (failed === undefined) return disks;
    await Promise.all(disks.map((disk) => disk.destroy()));
    throw failed.reason;
  }
}
