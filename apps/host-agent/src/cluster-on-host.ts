import type { CutRef, Heartbeat } from '@virtcft/events';
import type { VmEvent } from '@virtcft/hypervisor';
import type { AgentOrder, Wiring } from '@virtcft/protocol';
import { span, type TraceContext } from '@virtcft/telemetry';
import type { Disk } from '@virtcft/disk';
import { CutsOnHost } from './cut/cuts-on-host.js';
import { Lane } from './cut/lane.js';
import { Uploads } from './cut/uploads.js';
import { HostedVm } from './disks/hosted-vm.js';
import type { HostContext } from './host-context.js';
import type { OutputGate } from './output/gate.js';
import { RecoveryOnHost } from './recovery/recovery-on-host.js';
import { SeedsOnHost } from './seed/seeds-on-host.js';

type Load = Extract<AgentOrder, { kind: 'load' }>;
type Start = Extract<AgentOrder, { kind: 'start' }>;

/** One cluster's part on this host: carries out the agent's orders one after the other, and reports what came of them. */
export class ClusterOnHost {
  private readonly lane = new Lane();
  private readonly uploads: Uploads;
  private readonly cuts: CutsOnHost;
  private readonly seeds: SeedsOnHost;
  private readonly recovery: RecoveryOnHost;
  private wiring: Wiring | null = null;
  /** The newest generation whose raise was seen; what was ordered for an older one is void. */
  private raised = 0;
  private running = false;
  private starting = new AbortController();

  constructor(private readonly host: HostContext, private readonly gate: OutputGate) {
    this.uploads = new Uploads(host.replicas, host.fabric, this.lane, host.log);
    this.seeds = new SeedsOnHost(host, () => this.uploads.sending);
    this.cuts = new CutsOnHost(host, this.uploads, this.seeds);
    this.recovery = new RecoveryOnHost(host, this.uploads, (vm, reason) => this.onVmEvent({ kind: 'exited', vm, reason }));
    host.driver.onEvent((event) => this.onVmEvent(event));
  }

  get vmStates(): Heartbeat['vms'] {
    return this.host.held.all.map((vm) => {
      const { clock } = vm.stats();
      const seeded = this.seeds.shareOf(vm.spec.name);
      return { vm: vm.spec.name, runState: vm.runState, ...(vm.filling ? { filling: true } : {}), ...(clock.shortcoming === null ? {} : { drifting: true }), ...(seeded === undefined ? {} : { seeded }) };
    });
  }
  get generation(): number { return this.wiring?.generation ?? 0; }
  get storeFailure(): string | null { return this.uploads.failure; }

  /** What must not wait behind other orders is done at once: the end of a generation, the release of output. */
  carryOut(order: Exclude<AgentOrder, { kind: 'join' | 'end' }>, trace: TraceContext): Promise<void> {
    switch (order.kind) {
      case 'start': {
        this.starting = new AbortController();
        const { signal } = this.starting;
        return this.lane.run(() => this.start(order, signal, trace));
      }
      // Behind the wiring that it comes with: a new generation's gate starts closed (R10).
      case 'gate':
        return this.lane.run(() => {
          // What was written while nothing was cut is copied before the next pause, not in it.
          if (!order.open) this.cuts.expect('all');
          return this.host.fabric.setPassThrough(order.open);
        });
      case 'reach': {
        this.cuts.barrier(order.epoch);
        const seal = this.cuts.awaitSeal(order.epoch);
        return this.lane.run(async () => {
          if (this.current) await this.cuts.cutTogether(seal, order.vms, this.generation, this.wiring?.incarnation ?? '', trace);
          else this.cuts.forget(seal);
        });
      }
      case 'cut':
        this.cuts.barrier(order.epoch);
        if (this.cuts.end({ kind: 'capture', epoch: order.epoch })) return Promise.resolve();
        return this.lane.run(() => this.current ? this.cuts.cut(order.epoch, order.vms, this.generation, this.wiring?.incarnation ?? '', trace) : Promise.resolve());
      case 'seed': return this.lane.run(() => {
        if (this.current) this.seeds.want(order.vms, this.generation);
        return Promise.resolve();
      });
      case 'flip': case 'give-up':
        if (this.cuts.end({ kind: 'run-on', epoch: order.epoch, overdue: order.kind === 'give-up' })) return Promise.resolve();
        return this.lane.run(() => this.current ? this.cuts.flip(order.epoch) : Promise.resolve());
      case 'commit': return this.commit(order.epoch, trace);
      case 'stop':
        this.raised = order.generation;
        this.running = false;
        this.starting.abort();
        this.seeds.forget();
        this.uploads.restartAt(order.generation, new Map());
        this.recovery.giveUp();
        this.gate.forget();
        this.cuts.end({ kind: 'stay' });
        return this.lane.run(async () => {
          await this.stop();
          this.host.report({ type: 'recovery.stopped', data: { ...this.host.from, generation: order.generation } }, trace);
        });
      case 'load': return this.lane.run(() => this.stage('load', order.wiring.generation, trace, () => this.load(order)));
      case 'resume': return this.lane.run(() => this.stage('resume', order.generation, trace, () => this.resume()));
      case 'empty':
        this.running = false;
        this.starting.abort();
        this.seeds.forget();
        this.uploads.restartAt(this.generation, new Map());
        this.recovery.giveUp();
        this.cuts.end({ kind: 'stay' });
        return this.lane.run(() => this.empty());
    }
  }

  async close(): Promise<void> {
    this.running = false;
    this.starting.abort();
    this.seeds.forget();
    this.uploads.restartAt(Number.POSITIVE_INFINITY, new Map());
    this.recovery.giveUp();
    this.cuts.end({ kind: 'stay' });
    await this.lane.run(() => this.empty());
  }

  /** VMs run, and no raise was seen that ends them. */
  private get current(): boolean { return this.running && this.raised <= this.generation; }

  private async start({ vms: names, wiring, disks }: Start, signal: AbortSignal, trace: TraceContext): Promise<void> {
    if (names.length === 0) return;
    const { fabric, report, from } = this.host;
    this.wiring = wiring;
    await fabric.setGeneration(wiring, null);
    this.uploads.restartAt(wiring.generation, new Map());
    const begun = await Promise.all(names.map((name) => this.boot(name, wiring.generation, disks, signal, 'running')));
    if (signal.aborted) return;
    this.running = true;
    this.cuts.expect('all');
    report({ type: 'vms.started', data: { ...from, generation: wiring.generation, vms: names.filter((_, i) => begun[i]) } }, trace);
  }

  /** False when it cannot begin: a failure of this VM, told by its name, while the host is well (R7). */
  private async boot(name: string, generation: number, cut: CutRef | null, signal: AbortSignal, first: 'running' | 'paused'): Promise<boolean> {
    const { cluster, held, driver, disks, report, from, log } = this.host;
    const definition = held.definitionOf(name);
    let made: Disk[] = [];
    try {
      made = await disks.boot(cluster, definition, cut, signal, (reason) => this.onVmEvent({ kind: 'exited', vm: name, reason }));
      const spec = held.specOf(name, disks.attachments(definition, made));
      held.put(new HostedVm(await driver.start(spec, await held.attachments.attach(spec), { paused: first === 'paused' }), made));
      return true;
    } catch (error) {
      await Promise.all(made.map((disk) => disk.destroy()));
      await held.attachments.detach(held.specOf(name, []));
      if (signal.aborted) return false;
      log.error({ err: error, vm: name }, 'this VM cannot be started');
      const reason = error instanceof Error ? error.message : String(error);
      report({ type: 'vm.failed', data: { ...from, generation, vm: name, reason: reason.slice(0, 500) } }, {});
      return false;
    }
  }

  /** A host that stood at a barrier stands as a stop would leave it: held, its VMs stopped. */
  private async stop(): Promise<void> {
    if (this.cuts.leftStopped()) this.recovery.close();
    else await this.recovery.stop(this.wiring !== null);
  }

  private async commit(epoch: number, trace: TraceContext): Promise<void> {
    if (this.wiring === null) return;
    const { generation } = this;
    await this.gate.release(epoch, (released) => this.cuts.released(released, generation, trace));
    await this.lane.run(() => this.current && this.generation === generation ? this.cuts.fold(epoch) : Promise.resolve());
  }

  private async load({ basis, vms, fresh, wiring, ahead_ms }: Load): Promise<void> {
    const { held, fabric, report, from, log } = this.host;
    await Promise.all(held.names.filter((name) => !vms.includes(name)).map((name) => held.drop(name)));
    this.wiring = vms.length + fresh.length > 0 ? wiring : null;
    // A host that keeps no VM is wired too: what the basis covers of its output leaves, the rest is dropped (R10).
    await fabric.setGeneration(wiring, basis.epoch);
    this.starting = new AbortController();
    const { signal } = this.starting;
    if (vms.length + fresh.length > 0) await this.recovery.load(basis, vms, wiring.generation, ahead_ms);
    // What the basis does not hold was in no cut: nobody may remember what it did, so it begins anew (R20).
    if (fresh.length > 0) log.warn({ vms: fresh, basis: `${basis.generation}-${basis.epoch}` }, 'these VMs are not in the basis and begin anew');
    await Promise.all(fresh.map((name) => this.boot(name, wiring.generation, null, signal, 'paused')));
    if (signal.aborted) return;
    report({ type: 'recovery.loaded', data: { ...from, generation: wiring.generation, vms: [...vms, ...fresh] } }, {});
  }

  private async resume(): Promise<void> {
    const { held, report, from } = this.host;
    if (held.names.length === 0) return;
    await this.recovery.resume();
    this.running = true;
    this.cuts.expect('none');
    report({ type: 'recovery.running', data: { ...from, generation: this.generation, vms: held.names } }, {});
  }

  private async empty(): Promise<void> {
    this.running = false;
    this.wiring = null;
    this.recovery.close();
    this.cuts.leftStopped();
    await Promise.all(this.host.held.names.map((name) => this.host.held.drop(name)));
  }

  /** A failure in any stage is reported; the coordinator raises again (R17). */
  private async stage(stage: 'load' | 'resume', generation: number, trace: TraceContext, work: () => Promise<void>): Promise<void> {
    if (this.raised > generation) return;
    try {
      await span(`recovery ${stage}`, { parent: trace, attributes: { generation, host: this.host.name } }, work);
    } catch (error) {
      // A newer raise made it void, and ended it.
      if (this.raised > generation) return;
      this.host.log.error({ err: error, stage, generation }, 'this host failed in a recovery');
      const reason = error instanceof Error ? error.message : String(error);
      this.host.report({ type: 'recovery.failed', data: { ...this.host.from, generation, stage, reason: reason.slice(0, 500) } }, trace);
    }
  }

  private onVmEvent(event: VmEvent): void {
    if (!this.current || !this.host.held.has(event.vm)) return;
    const at = { ...this.host.from, generation: this.generation, vm: event.vm };
    if (event.kind === 'exited') this.host.report({ type: 'vm.failed', data: { ...at, reason: event.reason.slice(0, 500) } }, {});
    if (event.kind === 'run-state') this.host.report({ type: 'vm.run-state', data: { ...at, runState: event.runState } }, {});
  }
}
