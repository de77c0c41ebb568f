import { parseManifest } from '@virtcft/checkpoint';
import type { CutRef } from '@virtcft/events';
import type { ChainTip, Uploads } from '../cut/uploads.js';
import type { HostContext } from '../host-context.js';
import { limits } from '../limits.js';

/** A host's part of a recovery: stop, load everything paused at the basis, run. */
export class RecoveryOnHost {
  private announcing: NodeJS.Timeout | undefined;

  constructor(private readonly host: HostContext, private readonly uploads: Uploads) {}

  /** The old generation ends here: nothing runs, nothing is forwarded. */
  async stop(wired: boolean): Promise<void> {
    clearTimeout(this.announcing);
    const { fabric, held, log } = this.host;
    if (wired) await fabric.hold();
    const stopped = await Promise.allSettled(held.all.map((vm) => vm.stop()));
    for (const each of stopped) if (each.status === 'rejected') log.warn({ reason: String(each.reason) }, 'a VM did not stop; it is replaced at the load');
  }

  /** Exactly `names` stand here afterwards, paused at `basis`, the channel state waiting at their NICs. The fabric is wired to the new generation already. */
  async load(basis: CutRef, names: readonly string[], generation: number): Promise<void> {
    const { cluster, replicas, fabric, held } = this.host;
    const [bytes, channel] = await Promise.all([replicas.manifest(cluster, basis), replicas.channel(cluster, basis)]);
    const manifest = parseManifest(bytes, basis.hash);
    await Promise.all(names.map((name) => this.loadVm(name, basis)));
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

  close(): void { clearTimeout(this.announcing); }

  /** A survivor rolls back from its base; anything else is fetched, its memory arriving while it runs. */
  private async loadVm(name: string, basis: CutRef): Promise<void> {
    const { cluster, replicas, driver, held } = this.host;
    const vm = held.get(name);
    const kept = held.device(name, basis.epoch);
    const fill = vm?.stats().fill ?? null;
    if (vm !== undefined && kept !== undefined && (fill === null || fill.done)) {
      await vm.rollback(basis.epoch, kept.state, kept.runState);
      held.onlyDevice(name, basis.epoch, kept);
      return;
    }
    await held.drop(name);
    const spec = held.specOf(name);
    const [nics, device] = await Promise.all([held.attachments.attach(spec), replicas.device(cluster, basis, name)]);
    held.put(await driver.load(spec, nics, { epoch: basis.epoch, deviceState: device.state, runState: device.runState, source: replicas.pages(cluster, basis, name) }));
    held.onlyDevice(name, basis.epoch, device);
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
