import { metrics, span, type TraceContext } from '@virtcft/telemetry';
import type { Vm } from '@virtcft/hypervisor';
import type { HostContext } from '../host-context.js';
import { limits } from '../limits.js';
import type { Released } from '../output/gate.js';
import { CutFailed, cutHost, type HostCut } from './host-cut.js';
import type { Uploads } from './uploads.js';

/** Epoch by epoch on one host: capture at the barrier, store, and at the commit release and fold. */
export class CutsOnHost {
  /** Dirty pages of the cut before: what the next is expected to find. Before the first cut everything is dirty. */
  private expectedPages = Number.POSITIVE_INFINITY;
  private readonly barriers_ms = new Map<number, number>();

  constructor(private readonly host: HostContext, private readonly uploads: Uploads) {}

  /** The order to close `epoch` came; what commits it will be measured from here. */
  barrier(epoch: number): void { this.barriers_ms.set(epoch, performance.now()); }

  /** All pages may be dirty (a boot), or none (a restore). */
  expect(pages: 'all' | 'none'): void { this.expectedPages = pages === 'all' ? Number.POSITIVE_INFINITY : 0; }

  /** Runs on the host's lane; the upload goes on after it. */
  async cut(epoch: number, generation: number, incarnation: string, trace: TraceContext): Promise<void> {
    const { held, fabric, cluster, name, report } = this.host;
    const vms = held.all;
    try {
      for (let round = 0; round < limits.precopy_rounds && this.expectedPages > limits.precopy_pages; round += 1) {
        this.expectedPages = sum((await Promise.all(vms.map((vm) => vm.precopy()))).map(({ pages }) => pages));
      }
      const every = this.host.spec().verify_every;
      const cut = await span('cut', { parent: trace, attributes: { epoch, host: name } }, () => cutHost(fabric, vms, epoch, every > 0 && epoch % every === 0));
      this.expectedPages = sum(cut.captures.map((capture) => capture.dirtyPages));
      for (const pause of cut.pauses) metrics.vmPause(pause.pause_ms / 1000, { cluster, vm: pause.vm });
      await Promise.all(cut.captures.map(async (capture) => held.keepDevice(capture.vm, epoch, { runState: capture.runState, state: await capture.deviceState() })));
      void this.store(cut, vms, generation, incarnation, trace);
    } catch (error) {
      if (!(error instanceof CutFailed)) throw error;
      report({ type: 'capture.failed', data: { ...this.host.from, generation, epoch, reason: error.message.slice(0, 500) } }, trace);
    }
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
    await Promise.all(this.host.held.all.map((vm) => vm.commit(epoch)));
    this.host.held.forgetDevicesBefore(epoch);
  }

  private async store(cut: HostCut, vms: readonly Vm[], generation: number, incarnation: string, trace: TraceContext): Promise<void> {
    const { cluster, name, identity, hostNames, report, from, log } = this.host;
    try {
      const stored = await this.uploads.store(cut, vms, { cluster, host: name, generation, incarnation, identity, hostNames: hostNames() }, trace);
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
