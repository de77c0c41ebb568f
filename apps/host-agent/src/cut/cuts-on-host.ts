import { metrics, span, type TraceContext } from '@virtcft/telemetry';
import { limits as protocol } from '@virtcft/protocol';
import type { HostedVm } from '../disks/hosted-vm.js';
import type { HostContext } from '../host-context.js';
import { limits } from '../limits.js';
import type { Released } from '../output/gate.js';
import { captureHost, continueHost, CutFailed, stopHost, type HostCut } from './host-cut.js';
import type { SeedsOnHost } from '../seed/seeds-on-host.js';
import { Seal, type Ending } from './seal.js';
import type { Uploads } from './uploads.js';

/** Epoch by epoch on one host: capture at the barrier, store, and at the commit release and fold. */
export class CutsOnHost {
  /** Dirty pages of the cut before: what the next is expected to find. Before the first cut everything is dirty. */
  private expectedPages = Number.POSITIVE_INFINITY;
  private readonly barriers_ms = new Map<number, number>();
  /** The two-phase barrier at which this host stands, or will. */
  private seal: Seal | null = null;
  /** The VMs were left as they stood at a barrier. */
  private stopped = false;

  constructor(private readonly host: HostContext, private readonly uploads: Uploads, private readonly seeds: SeedsOnHost) {}

  /** The order to close `epoch` came; what commits it will be measured from here. */
  barrier(epoch: number): void { if (!this.barriers_ms.has(epoch)) this.barriers_ms.set(epoch, performance.now()); }

  /** All pages may be dirty (a boot), or none (a restore). */
  expect(pages: 'all' | 'none'): void { this.expectedPages = pages === 'all' ? Number.POSITIVE_INFINITY : 0; }

  /** Runs on the host's lane; the upload goes on after it. */
  async cut(epoch: number, names: readonly string[], generation: number, incarnation: string, trace: TraceContext): Promise<void> {
    const { held, fabric, driver, name } = this.host;
    const vms = held.all.filter((vm) => names.includes(vm.spec.name));
    await this.orFailed(epoch, generation, trace, async () => {
      await this.precopy(vms);
      await span('cut', { parent: trace, attributes: { epoch, host: name } }, async () => {
        await stopHost(fabric, vms, epoch, driver.stop_budget_ms);
        await this.capture(vms, epoch, generation, incarnation, trace);
      });
    });
  }

  /** The order to stand still for `epoch` came; from now on `end` ends its wait, before or after `cutTogether` began. */
  awaitSeal(epoch: number): Seal { return this.seal = new Seal(epoch); }

  /** False when this host waits for no seal. */
  end(ending: Ending): boolean {
    const { seal } = this;
    this.seal = null;
    seal?.end(ending);
    return seal !== null;
  }

  /** Both phases of a barrier (R4a), in one piece of the lane: an encoder that came between would lengthen the pause. */
  async cutTogether(seal: Seal, names: readonly string[], generation: number, incarnation: string, trace: TraceContext): Promise<void> {
    const { held, fabric, driver, name, from, report, sealOverdue } = this.host;
    const vms = held.all.filter((vm) => names.includes(vm.spec.name));
    const { epoch } = seal;
    let ended = false;
    await this.orFailed(epoch, generation, trace, async () => {
      await this.precopy(vms);
      await span('cut', { parent: trace, attributes: { epoch, host: name } }, async () => {
        await stopHost(fabric, vms, epoch, driver.stop_budget_ms);
        report({ type: 'barrier.reached', data: { ...from, generation, epoch } }, trace);
        const ending = await seal.wait(protocol.seal_wait_ms, () => sealOverdue(epoch));
        ended = true;
        if (ending.kind === 'capture') return this.orFailed(ending.epoch, generation, trace, () => this.capture(vms, ending.epoch, generation, incarnation, trace));
        if (ending.kind === 'run-on') return this.runOn(vms, ending, generation, trace);
        this.stopped = true;
      });
    });
    // The VMs did not stop, and run. What has ended the wait meanwhile, perhaps with a newer epoch, closes that epoch here as well.
    if (ended || this.forget(seal)) return;
    const ending = await seal.ending;
    if (ending.kind !== 'stay') await this.flip(ending.epoch);
  }

  /** Nothing stands still for this seal. False: its wait was ended already. */
  forget(seal: Seal): boolean {
    const waits = this.seal === seal;
    if (waits) this.seal = null;
    return waits;
  }

  /** Whether the VMs stand stopped since a barrier; asked once. */
  leftStopped(): boolean {
    const { stopped } = this;
    this.stopped = false;
    return stopped;
  }

  /** Closes `epoch` without a capture (R5). */
  async flip(epoch: number): Promise<void> {
    const { fabric } = this.host;
    await fabric.hold();
    await fabric.flip(epoch);
    await fabric.release();
  }

  released({ epoch, frames, bytes, oldest_ms }: Released, generation: number, trace: TraceContext): void {
    const barrier_ms = this.barriers_ms.get(epoch);
    for (const known of this.barriers_ms.keys()) if (known <= epoch) this.barriers_ms.delete(known);
    if (barrier_ms === undefined) return;
    const commit_ms = performance.now() - barrier_ms;
    metrics.commitLatency(commit_ms / 1000, { cluster: this.host.cluster });
    metrics.releasedFrames(frames, { cluster: this.host.cluster });
    this.host.report({ type: 'output.released', data: { ...this.host.from, generation, epoch, frames, bytes, commit_ms, oldest_ms } }, trace);
  }

  async fold(epoch: number): Promise<void> {
    await Promise.all(this.host.held.captured(epoch).map((vm) => vm.commit(epoch)));
    this.host.held.forgetDevicesBefore(epoch);
  }

  private async runOn(vms: readonly HostedVm[], { epoch, overdue }: Extract<Ending, { kind: 'run-on' }>, generation: number, trace: TraceContext): Promise<void> {
    await continueHost(this.host.fabric, vms, epoch);
    if (!overdue) return;
    this.host.report({ type: 'capture.failed', data: { ...this.host.from, generation, epoch, reason: `its barrier was not sealed within ${protocol.seal_wait_ms} ms`, waited: true } }, trace);
  }

  private async precopy(vms: readonly HostedVm[]): Promise<void> {
    for (let round = 0; round < limits.precopy_rounds && this.expectedPages > limits.precopy_pages; round += 1) {
      this.expectedPages = sum((await Promise.all(vms.map((vm) => vm.precopy()))).map(({ pages }) => pages));
    }
  }

  /** All VMs stand still: captured, they run on, and the upload goes on beside them. */
  private async capture(vms: readonly HostedVm[], epoch: number, generation: number, incarnation: string, trace: TraceContext): Promise<void> {
    const { held, fabric, cluster } = this.host;
    const every = this.host.spec().verify_every;
    const cut = await captureHost(fabric, vms, epoch, every > 0 && epoch % every === 0);
    this.expectedPages = sum(cut.captures.map((capture) => capture.dirtyPages));
    for (const pause of cut.pauses) metrics.vmPause(pause.pause_ms / 1000, { cluster, vm: pause.vm });
    await Promise.all(cut.captures.map(async (capture) => held.keepDevice(capture.vm, epoch, { runState: capture.runState, state: await capture.deviceState() })));
    void this.store(cut, vms, generation, incarnation, trace);
  }

  private async orFailed(epoch: number, generation: number, trace: TraceContext, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof CutFailed)) throw error;
      this.host.report({ type: 'capture.failed', data: { ...this.host.from, generation, epoch, reason: error.message.slice(0, 500) } }, trace);
    }
  }

  private async store(cut: HostCut, vms: readonly HostedVm[], generation: number, incarnation: string, trace: TraceContext): Promise<void> {
    const { cluster, name, identity, hostNames, report, from, log } = this.host;
    try {
      const stored = await this.uploads.store(cut, vms, { cluster, host: name, generation, incarnation, identity, hostNames: hostNames(), baseOf: (vm) => this.seeds.baseOf(vm) }, trace);
      if (stored === null) return;
      report({
        type: 'segments.stored',
        data: {
          ...from, generation, epoch: cut.epoch, pack: stored.pack, segments: [...stored.segments],
          channels: { frames: stored.channels.frames, down: [...stored.channels.down] },
          pauses: [...cut.pauses], verified: cut.verified, nics: vms.flatMap((vm) => vm.spec.nics.map(({ mac }) => mac)),
        },
      }, trace);
    } catch (error) {
      if (this.uploads.generation !== generation) return;
      log.error({ err: error, epoch: cut.epoch }, 'a cut could not be stored');
      report({ type: 'capture.failed', data: { ...from, generation, epoch: cut.epoch, reason: String(error).slice(0, 500) } }, trace);
    }
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
