import { join } from 'node:path';
import { imageSections, type ImageView, type ReplicaFold, type RestoreView } from '@virtcft/checkpoint';
import { Disk } from '@virtcft/disk';
import type { ClusterSpec, DrillResult, VmDefinition } from '@virtcft/events';
import type { HypervisorDriver, Log, PageSource, Vm } from '@virtcft/hypervisor';
import { checkIdentity } from '../guests.js';
import { limits } from '../limits.js';
import type { DrillNetwork } from './network.js';

/** The images of a folded cut give pages as a replica store does, within one process. */
const sourceOf = (image: ImageView): PageSource => ({ all: () => imageSections(image, limits.stream_pages), pages: (first, count) => image.read(first, count) });

export interface DrillHost {
  readonly driver: HypervisorDriver;
  readonly network: DrillNetwork;
  /** Folders of disks' sockets, whose paths are short, and of their content, which may be larger than memory. */
  readonly sockets: string;
  readonly disks: string;
  readonly clock: ClusterSpec['clock'];
  readonly log: Log;
}

/** One guest of the cut: loaded paused, its memory and disks arriving while it runs. The view that they come from stays open. */
export class DrilledVm {
  private dead: string | null = null;

  private constructor(readonly definition: VmDefinition, private readonly view: RestoreView, private readonly vm: Vm) {}

  /** Throws DrillRefused for a capture of another hypervisor or processor (R20), HypervisorError. */
  static async load(host: DrillHost, fold: ReplicaFold, definition: VmDefinition): Promise<DrilledVm> {
    const { driver, network, clock, log } = host;
    const { name, mac } = definition;
    const asked_ms = performance.now();
    const view = await fold.restoreView(name);
    checkIdentity(name, view.identity, driver.identity);
    let fallen: (reason: string) => void = () => undefined;
    const disks = await Promise.all(view.disks.map(async ({ name: disk, bytes }, index) => {
      const socket = join(host.sockets, `${mac.replaceAll(':', '')}-${index}`);
      await Disk.load({ name: disk, bytes, image: null }, { directory: join(host.disks, name, disk), socket, log }, view.cut.epoch, sourceOf(view.disk(disk)), (reason) => { fallen(reason); });
      return { name: disk, bytes, socket };
    }));
    const spec = {
      name, memory_mib: definition.memory_mib, vcpus: definition.vcpus, kernel: definition.kernel, initrd: definition.initrd ?? null, append: definition.append, nics: [{ mac }], disks, clock,
    };
    const image = { epoch: view.cut.epoch, deviceState: await view.device(), runState: view.runState, ahead_ms: 0, asked_ms, source: sourceOf(view.memory) };
    const drilled = new DrilledVm(definition, view, await driver.load(spec, [await network.attach(mac)], image));
    fallen = (reason) => { drilled.dead = reason; };
    driver.onEvent((event) => { if (event.vm === name && event.kind === 'exited') drilled.dead = event.reason; });
    return drilled;
  }

  /** Runs, unless it did not in the cut (R7). */
  async resume(): Promise<void> { await this.vm.resume(); }

  get result(): DrillResult['vms'][number] {
    return { vm: this.definition.name, address: this.definition.address ?? null, began: this.view.runState, ended: this.dead === null ? this.vm.runState : 'exited' };
  }
}
