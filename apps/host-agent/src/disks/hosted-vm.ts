import type { Disk, EncodedDisk } from '@virtcft/disk';
import type { CaptureParts, EncodedMemory, RunState, Vm, VmCapture, VmImage, VmSeed, VmSpec, VmStats } from '@virtcft/hypervisor';
import type { PageCatalog } from '@virtcft/native';

/** A VM of the hypervisor together with its disks, which the agent serves: they are captured, folded and rolled back as one. */
export class HostedVm implements Vm {
  constructor(private readonly vm: Vm, readonly disks: readonly Disk[]) {}

  get spec(): VmSpec { return this.vm.spec; }
  get runState(): RunState { return this.vm.runState; }
  /** Whether memory or disks are still on their way from the replica. */
  get filling(): boolean { return this.vm.stats().fill?.done === false || this.disks.some((disk) => disk.filling); }

  precopy(): Promise<{ pages: number }> { return this.vm.precopy(); }
  /** Null where the driver cannot make one. */
  async beginSeed(): Promise<VmSeed | null> { return await this.vm.seed?.() ?? null; }
  stop(): Promise<void> { return this.vm.stop(); }
  settle(): Promise<void> { return this.vm.settle(); }
  resume(): Promise<{ pause_ms: number; parts: CaptureParts }> { return this.vm.resume(); }
  pause(): Promise<void> { return this.vm.pause(); }
  unpause(): Promise<void> { return this.vm.unpause(); }
  verify(epoch: number): Promise<number> { return this.vm.verify(epoch); }
  digest(epoch: number): Promise<string> { return this.vm.digest(epoch); }
  stats(): VmStats { return this.vm.stats(); }

  /** The stop has drained all requests, so that the disks stand still; they take microseconds. */
  async capture(epoch: number): Promise<VmCapture> {
    const [capture] = await Promise.all([this.vm.capture(epoch), ...this.disks.map((disk) => disk.capture(epoch))]);
    return capture;
  }

  encode(parent: number | null, epoch: number, catalog?: PageCatalog): Promise<EncodedMemory> { return this.vm.encode(parent, epoch, catalog); }

  /** One after the other: a disk's delta may be large, and encoders share the processors with the guests. */
  async encodeDisks(parent: number | null, epoch: number): Promise<EncodedDisk[]> {
    const encoded: EncodedDisk[] = [];
    for (const disk of this.disks) encoded.push(await disk.encode(parent, epoch));
    return encoded;
  }

  async commit(epoch: number): Promise<void> {
    await Promise.all([this.vm.commit(epoch), ...this.disks.map((disk) => disk.commit(epoch))]);
  }

  async rollback(image: VmImage): Promise<void> {
    await this.vm.rollback(image, async () => { await Promise.all(this.disks.map((disk) => disk.rollback(image.epoch))); });
  }

  async destroy(): Promise<void> {
    await this.vm.destroy();
    await Promise.all(this.disks.map((disk) => disk.destroy()));
  }
}
