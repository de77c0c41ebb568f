import { parseManifest, type Manifest } from '@virtcft/checkpoint';
import type { Disk } from '@virtcft/disk';
import type { CutRef } from '@virtcft/events';
import type { VmImage } from '@virtcft/hypervisor';
import type { ChainTip, Uploads } from '../cut/uploads.js';
import { HostedVm } from '../disks/hosted-vm.js';
import type { HostContext } from '../host-context.js';
import { limits } from '../limits.js';
import { patiently } from './patiently.js';

/** A host's part of a recovery: stop, load everything paused at the basis, run. */
export class RecoveryOnHost {
  private announcing: NodeJS.Timeout | undefined;
  private loading = new AbortController();

  /** `failed`: a VM can never go on, since what it is filled from is gone. */
  constructor(private readonly host: HostContext, private readonly uploads: Uploads, private readonly failed: (vm: string, reason: string) => void) {}

  /** What is being loaded is wanted no more: the next raise does not wait behind it. */
  giveUp(): void {
    this.loading.abort();
    this.loading = new AbortController();
  }

  /** The old generation ends here: nothing runs, nothing is forwarded. */
  async stop(wired: boolean): Promise<void> {
    clearTimeout(this.announcing);
    const { fabric, held, log } = this.host;
    if (wired) await fabric.hold();
    const stopped = await Promise.allSettled(held.all.map((vm) => vm.stop()));
    for (const each of stopped) if (each.status === 'rejected') log.warn({ reason: String(each.reason) }, 'a VM did not stop; it is replaced at the load');
  }

  /** Exactly `names` stand here afterwards, paused at `basis`, their clocks `ahead_ms` after it, the channel state waiting at their NICs. The fabric is wired to the new generation already. */
  async load(basis: CutRef, names: readonly string[], generation: number, ahead_ms: number): Promise<void> {
    const time = { ahead_ms, asked_ms: performance.now() };
    const { cluster, replicas, fabric, held } = this.host;
    const { signal } = this.loading;
    // First, since a VM that is still being filled keeps the replica at the cut that it is filled from.
    await Promise.all(names.filter((name) => !this.canRollBack(name, basis)).map((name) => held.drop(name)));
    const [bytes, channel] = await patiently(signal, this.host.log, () => Promise.all([replicas.manifest(cluster, basis, signal), replicas.channel(cluster, basis, signal)]));
    const manifest = parseManifest(bytes, basis.hash);
    await Promise.all(names.map((name) => this.loadVm(name, basis, manifest, time, signal)));
    const nics = new Set(held.macs);
    await fabric.inject(channel.filter(({ nic }) => nics.has(nic)));
    this.uploads.restartAt(generation, new Map(names.map((name): [string, ChainTip] => {
      const segment = manifest.vms[name]?.segment;
      if (segment === undefined) throw new Error(`cut ${basis.generation}-${basis.epoch} does not hold VM "${name}"`);
      return [name, { epoch: basis.epoch, segment }];
    })));
  }

  async resume(): Promise<void> {
    await Promise.all(this.host.held.all.map((vm) => vm.resume()));
    this.announce(limits.announce_times);
  }

  close(): void {
    clearTimeout(this.announcing);
    this.giveUp();
  }

  /** A survivor rolls back from its base; anything else is fetched, its memory arriving while it runs. */
  private async loadVm(name: string, basis: CutRef, manifest: Manifest, time: Pick<VmImage, 'ahead_ms' | 'asked_ms'>, signal: AbortSignal): Promise<void> {
    const { cluster, replicas, driver, held, disks } = this.host;
    const vm = held.get(name);
    const kept = held.device(name, basis.epoch);
    if (vm !== undefined && kept !== undefined) {
      try {
        await vm.rollback({ epoch: basis.epoch, deviceState: kept.state, runState: kept.runState, ...time });
        held.onlyDevice(name, basis.epoch, kept);
        return;
      } catch (error) {
        // The next attempt would find the same VM: what is here is given up for what is stored.
        this.host.log.warn({ err: error, vm: name }, 'a VM could not be rolled back in place; it is loaded anew');
        await held.drop(name);
      }
    }
    const definition = held.definitionOf(name);
    const [device, made] = await Promise.all([
      patiently(signal, this.host.log, () => replicas.device(cluster, basis, name, signal)),
      disks.load(cluster, definition, basis, manifest.vms[name]?.disks ?? [], (reason) => this.failed(name, reason)),
    ]);
    try {
      const spec = held.specOf(name, disks.attachments(definition, made));
      const loaded = await driver.load(spec, await held.attachments.attach(spec), { epoch: basis.epoch, deviceState: device.state, runState: device.runState, ...time, source: replicas.pages(cluster, basis, name) });
      held.put(new HostedVm(loaded, made));
    } catch (error) {
      await Promise.all(made.map((disk: Disk) => disk.destroy()));
      throw error;
    }
    held.onlyDevice(name, basis.epoch, device);
  }

  private canRollBack(name: string, basis: CutRef): boolean {
    const vm = this.host.held.get(name);
    return vm !== undefined && this.host.held.device(name, basis.epoch) !== undefined && !vm.filling;
  }

  /** Switches outside must learn where the addresses live now, and a single announcement may be lost (R10). */
  private announce(times: number): void {
    const { held, fabric, log } = this.host;
    for (const vm of held.all) {
      for (const { mac } of vm.spec.nics) fabric.announce(mac, held.addressOf(vm.spec.name)).catch((error: unknown) => log.warn({ err: error, mac }, 'an address was not announced'));
    }
    if (times > 1) this.announcing = setTimeout(() => this.announce(times - 1), limits.announce_every_ms);
  }
}
