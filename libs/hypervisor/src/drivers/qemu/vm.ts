import { readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Fill } from '@virtcft/lazy-fill';
import { GuestMemory } from '@virtcft/native';
import type { CaptureResult, PageCatalog, TrackerKind } from '@virtcft/native';
import { HypervisorError, reasonOf } from '../../errors.js';
import type { Log } from '../../log.js';
import type { CaptureParts, EncodedMemory, NicAttachment, PageSource, RunState, Vm, VmCapture, VmEvent, VmImage, VmSeed, VmSpec, VmStats } from '../../port.js';
import { commandLine } from './command-line.js';
import type { MachineModel } from './command-line.js';
import { ConsoleLog } from './console-log.js';
import { checkDeviceState, composeIncoming } from './device-state.js';
import { GuestTime } from './guest-time.js';
import { LIMITS } from './limits.js';
import { continueCpus, loadDevices } from './migration.js';
import { createRam } from './prefix.js';
import type { Prefixes } from './prefix.js';
import type { ClockAccess } from './probe.js';
import { lowerGuestCpus } from './priority.js';
import { QemuProcess } from './process.js';
import type { QmpEvent } from './qmp-client.js';
import { StateFiles } from './state-files.js';

/** What a VM needs of the driver that holds it. */
export interface VmHost {
  readonly qemu: string;
  readonly model: MachineModel;
  readonly runDir: string;
  readonly tracker: TrackerKind;
  /** Whether memory can be filled while the guest runs (userfaultfd with PAGEMAP_SCAN); else a load waits for all of it. */
  readonly lazyFill: boolean;
  readonly clock: ClockAccess;
  readonly prefixes: Prefixes;
  readonly log: Log;
  emit(event: VmEvent): void;
  /** The VM is destroyed. */
  forget(vm: Vm): void;
}

/** One stop of the virtual CPUs, up to the next resume. */
interface Stop {
  readonly ordered_ms: number;
  readonly stopped_ms: number;
  /** The device state that is being written, unless something has changed it since. */
  saving: Saving | null;
  memory: CaptureResult | null;
  state_ms: number;
}

interface Saving {
  readonly file: string;
  /** Never rejects: when the device state was written, or why not. */
  readonly done: Promise<{ at_ms: number } | { error: unknown }>;
}

const NO_PARTS: CaptureParts = { stop_ms: 0, scan_ms: 0, copy_ms: 0, state_ms: 0, resume_ms: 0 };

export class QemuVm implements Vm {
  readonly spec: VmSpec;
  readonly #host: VmHost;
  readonly #nics: readonly NicAttachment[];
  readonly #directory: string;
  readonly #memory: GuestMemory;
  readonly #console: ConsoleLog;
  readonly #states: StateFiles;
  readonly #time: GuestTime;
  #process: QemuProcess | null = null;
  #fill: Fill | null = null;
  #runState: RunState = 'running';
  /** Whether QEMU runs the virtual CPUs, as far as we ordered; a guest that ended has none running either way. */
  #cpus: 'held' | 'running' = 'held';
  #stop: Stop | null = null;
  /** The file that a command at hand names. */
  #nextState: string | null = null;
  /** Between the end of `start`, `load` or `rollback` and the next: then the end of the process is news, not the failure of the call. */
  #settled = false;
  #destroyed = false;

  private constructor(host: VmHost, spec: VmSpec, nics: readonly NicAttachment[], directory: string) {
    this.#host = host;
    this.spec = spec;
    this.#nics = nics;
    this.#directory = directory;
    this.#memory = new GuestMemory({ ramPath: join(directory, 'ram'), bytes: spec.memory_mib * 2 ** 20 });
    this.#console = new ConsoleLog(join(directory, 'console.uncommitted.log'), host.log);
    this.#states = new StateFiles(directory);
    this.#time = new GuestTime(spec, host.clock, host.log);
  }

  static async boot(host: VmHost, spec: VmSpec, nics: readonly NicAttachment[], paused: boolean): Promise<QemuVm> {
    const vm = await QemuVm.#create(host, spec, nics);
    return vm.#begin(async () => {
      const [process] = await Promise.all([vm.#launch(false, null), host.prefixes.of(spec)]);
      await vm.#memory.attach({ pid: process.pid, tracker: host.tracker, lazy: false });
      vm.#time.begin(process.pid);
      if (!paused) await vm.resume();
    });
  }

  static async load(
    host: VmHost, spec: VmSpec, nics: readonly NicAttachment[], image: VmImage & { source: PageSource },
  ): Promise<QemuVm> {
    checkDeviceState(image.deviceState);
    const vm = await QemuVm.#create(host, spec, nics);
    return vm.#begin(async () => {
      vm.#runState = image.runState;
      vm.#memory.beginFill(image.epoch);
      const pages = spec.memory_mib * 256;
      vm.#fill = new Fill(vm.#memory, image.source, pages, host.log, (reason) => void vm.#die(reason));
      vm.#fill.start();
      const [process, prefix] = await Promise.all([vm.#launch(true, `loaded from cut ${image.epoch}`), host.prefixes.of(spec)]);
      if (!host.lazyFill) {
        // All pages first, then the memory file is made equal to them.
        await vm.#fill.complete;
        await vm.#memory.rollback(image.epoch);
      }
      await vm.#memory.attach({ pid: process.pid, tracker: host.tracker, lazy: host.lazyFill });
      await vm.#loadDevices(process, prefix, image);
    });
  }

  static async #create(host: VmHost, spec: VmSpec, nics: readonly NicAttachment[]): Promise<QemuVm> {
    const directory = join(host.runDir, spec.name);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await createRam(join(directory, 'ram'), spec.memory_mib);
    return new QemuVm(host, spec, nics, directory);
  }

  /** Nothing is left of a VM whose beginning failed. */
  async #begin(work: () => Promise<void>): Promise<QemuVm> {
    try {
      await work();
      this.#alive();
      this.#settled = true;
      return this;
    } catch (error) {
      await this.destroy();
      throw error;
    }
  }

  get runState(): RunState {
    return this.#runState;
  }

  /** Where the guest's console is written: uncommitted, for this host's operator only. */
  get consolePath(): string {
    return this.#console.path;
  }

  async precopy(): Promise<{ pages: number }> {
    this.#alive();
    return { pages: (await this.#memory.precopy()).pages };
  }

  async seed(): Promise<VmSeed> {
    this.#alive();
    // Soft-dirty bits cannot be read and cleared at once: nothing may write in between.
    const still = this.#host.tracker === 'soft-dirty' && this.#stop === null;
    if (still) await this.stop();
    try {
      const { epoch } = await this.#memory.beginSeed();
      return { epoch, copy: (first, count, fewest) => this.#memory.seed({ first, count, fewest }) };
    } finally {
      if (still) await this.resume();
    }
  }

  async stop(): Promise<void> {
    const process = this.#alive();
    if (this.#stop !== null) throw new HypervisorError('wrong-state', `${this.spec.name} is stopped already`);
    const ordered_ms = performance.now();
    if (this.#cpus === 'running' && this.#runState === 'running') {
      await process.captures.stop.run();
      this.#cpus = 'held';
    }
    // Here, not at the capture: QEMU writes the device state while the caller drains the fabric and memory is scanned.
    this.#stop = { ordered_ms, stopped_ms: performance.now(), saving: this.#save(process), memory: null, state_ms: 0 };
  }

  /**
   * A frame that found its socket full at the stop is sent by QEMU's main loop once there is room, and its completion written into the guest's memory,
   * stopped or not. The loop takes what is ready once a turn, and one command at most: the answer to a command behind the stop proves a turn after it; by itself
   * the first may be of a turn that had begun.
   */
  async settle(): Promise<void> {
    const process = this.#alive();
    await this.#forgetState();
    await Promise.all([process.qmp.execute('query-status'), process.qmp.execute('query-status')]);
  }

  /** What the next pause needs, while the guest runs. */
  #prepare({ captures }: QemuProcess): string {
    captures.stop.prepare();
    captures.cont.prepare();
    this.#nextState ??= this.#states.next();
    // Always live:false, or QEMU hands its disks over.
    captures.save.prepare({ filename: this.#nextState, live: false });
    return this.#nextState;
  }

  #save(process: QemuProcess): Saving {
    const file = this.#prepare(process);
    this.#nextState = null;
    const done = process.captures.save.run().then(() => ({ at_ms: performance.now() }), (error: unknown) => ({ error }));
    return { file, done };
  }

  /** A device state that no capture has taken. */
  async #forgetState(): Promise<void> {
    const saving = this.#stop?.saving ?? null;
    if (this.#stop === null || saving === null) return;
    this.#stop.saving = null;
    await saving.done;
    await this.#states.drop(saving.file);
  }

  async capture(epoch: number): Promise<VmCapture> {
    const process = this.#alive();
    const stop = this.#stop;
    if (stop === null) throw new HypervisorError('wrong-state', `${this.spec.name} must be stopped to be captured`);
    const saving = stop.saving ??= this.#save(process);
    const [memory, saved] = await Promise.all([this.#memory.capture(epoch), saving.done]);
    if ('error' in saved) throw saved.error;
    stop.memory = memory;
    stop.saving = null;
    stop.state_ms = Math.max(0, saved.at_ms - stop.stopped_ms);
    if (this.#time.learning) this.#time.learn(readFileSync(saving.file));
    this.#states.keep(saving.file);
    let state: Promise<Buffer> | null = null;
    return {
      vm: this.spec.name, epoch, runState: this.#runState, dirtyPages: memory.pages,
      deviceState: () => state ??= this.#states.take(saving.file),
    };
  }

  async resume(): Promise<{ pause_ms: number; parts: CaptureParts }> {
    const process = this.#alive();
    const stop = this.#stop;
    const begun_ms = performance.now();
    if (this.#cpus === 'held' && this.#runState === 'running') {
      this.#time.catchUp();
      await continueCpus(process.captures.cont);
      this.#cpus = 'running';
    }
    const now_ms = performance.now();
    await this.#forgetState();
    this.#stop = null;
    if (stop === null) return { pause_ms: 0, parts: { ...NO_PARTS, resume_ms: now_ms - begun_ms } };
    await this.#states.bound();
    return {
      pause_ms: now_ms - stop.ordered_ms,
      parts: {
        stop_ms: stop.stopped_ms - stop.ordered_ms,
        scan_ms: (stop.memory?.scan_us ?? 0) / 1000,
        copy_ms: (stop.memory?.copy_us ?? 0) / 1000,
        state_ms: stop.state_ms,
        resume_ms: now_ms - begun_ms,
      },
    };
  }

  async pause(): Promise<void> {
    const process = this.#alive();
    if (this.#stop !== null) throw new HypervisorError('wrong-state', `${this.spec.name} is stopped for a capture`);
    if (this.#runState !== 'running') return;
    if (this.#cpus === 'running') await process.qmp.execute('stop');
    this.#cpus = 'held';
    this.#turn('paused');
  }

  async unpause(): Promise<void> {
    this.#alive();
    if (this.#runState !== 'paused') return;
    this.#turn('running');
    if (this.#stop === null) await this.resume();
  }

  async encode(parent: number | null, epoch: number, catalog?: PageCatalog): Promise<EncodedMemory> {
    // Here, not at the resume: others of the host may still stand, and QEMU reads for a millisecond.
    if (this.#process !== null && this.#stop === null) this.#prepare(this.#process);
    const { section, pages, sources, encode_us } = await this.#memory.encode({ parent, epoch, catalog: catalog ?? null });
    return { section, pages, sources, encode_ms: encode_us / 1000 };
  }

  async commit(epoch: number): Promise<void> {
    await this.#memory.fold(epoch);
  }

  async verify(epoch: number): Promise<number> {
    return (await this.#memory.verify(epoch)).differing;
  }

  digest(epoch: number): Promise<string> {
    return this.#memory.digest(epoch);
  }

  async rollback(image: VmImage, quiet?: () => Promise<void>): Promise<void> {
    const { epoch, deviceState, runState } = image;
    if (this.#destroyed) throw new HypervisorError('vm-gone', `${this.spec.name} was destroyed`);
    checkDeviceState(deviceState);
    const old = this.#process;
    this.#settled = false;
    // From here on the old process is nobody's: its end is no event. The new one starts while memory is rewritten, it does not read it yet.
    this.#process = null;
    this.#stop = null;
    const stopped = old === null || old.over ? false : await this.#stopForGood(old);
    try {
      await quiet?.();
    } catch (error) {
      await old?.kill();
      await this.#memory.detach();
      throw error;
    }
    const starting = this.#launch(true, `rolled back to cut ${epoch}`);
    const [rewriting] = await Promise.allSettled([this.#rewrite(old, stopped, epoch), starting]);
    this.#cpus = 'held';
    this.#runState = runState;
    if (rewriting.status === 'rejected') await old?.kill();
    const process = await starting;
    try {
      if (rewriting.status === 'rejected') throw rewriting.reason;
      const lazy = this.#fill !== null && !this.#memory.fillStats().done;
      await this.#memory.attach({ pid: process.pid, tracker: this.#host.tracker, lazy });
      await this.#loadDevices(process, await this.#host.prefixes.of(this.spec), image);
      this.#alive();
      this.#settled = true;
    } catch (error) {
      // Nothing half loaded is left: the VM is as after its process's death, and may be rolled back again.
      await process.kill();
      await this.#memory.detach();
      throw error;
    }
  }

  stats(): VmStats {
    const { base_bytes, layer_bytes, layers } = this.#memory.stats();
    return {
      vm: this.spec.name, runState: this.#runState, tracker: this.#host.tracker,
      memory: { base_bytes, layer_bytes, layers }, fill: this.#fill === null ? null : this.#memory.fillStats(),
      clock: this.#time.stats(),
    };
  }

  async destroy(): Promise<void> {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#settled = false;
    const process = this.#process;
    this.#process = null;
    await process?.kill();
    await this.#fill?.stop();
    this.#memory.close();
    this.#time.end();
    await this.#console.close();
    await rm(this.#directory, { recursive: true, force: true });
    await Promise.all(this.#nics.map((nic) => rm(nic.guest, { force: true })));
    this.#host.forget(this);
  }

  /** The process, when there is one that lives. */
  #alive(): QemuProcess {
    if (this.#process === null || this.#process.over) {
      throw new HypervisorError('vm-gone', `${this.spec.name}: its QEMU has ended; roll it back or destroy it`);
    }
    return this.#process;
  }

  /** Used by measurements of this driver that talk to QEMU past the port. */
  get process(): QemuProcess {
    return this.#alive();
  }

  get directory(): string {
    return this.#directory;
  }

  async #launch(incoming: boolean, note: string | null): Promise<QemuProcess> {
    const { qemu, model } = this.#host;
    const args = commandLine({ model, spec: this.spec, nics: this.#nics, ramPath: join(this.#directory, 'ram'), incoming });
    const process = await QemuProcess.start(qemu, args, this.spec.name);
    if (this.#destroyed) {
      await process.kill();
      throw new HypervisorError('vm-gone', `${this.spec.name} was destroyed while it started`);
    }
    try {
      await Promise.all([lowerGuestCpus(process), process.openCaptures()]);
    } catch (error) {
      await process.kill();
      throw error;
    }
    this.#process = process;
    this.#nextState = null;
    this.#console.follow(process.console, note);
    process.qmp.onEvent((event) => {
      if (this.#process === process) this.#onEvent(event);
    });
    void process.ended.then((how) => {
      if (this.#process === process && this.#settled) this.#host.emit({ kind: 'exited', vm: this.spec.name, reason: how });
    });
    return process;
  }

  async #loadDevices(process: QemuProcess, prefix: Buffer, image: VmImage): Promise<void> {
    const state = this.#time.ahead(image);
    await loadDevices(process, composeIncoming(prefix, state));
    this.#time.goOn(process.pid, state, image.asked_ms);
  }

  #onEvent(event: QmpEvent): void {
    if (event.name === 'SHUTDOWN') this.#turn('off');
    else if (event.name === 'GUEST_PANICKED') this.#turn('panicked');
    else if (event.name === 'RESET') this.#host.emit({ kind: 'reset', vm: this.spec.name });
  }

  #turn(runState: RunState): void {
    if (this.#runState === runState) return;
    this.#runState = runState;
    this.#host.emit({ kind: 'run-state', vm: this.spec.name, runState });
  }

  /** False when the guest could not be stopped and was killed instead. */
  async #stopForGood(process: QemuProcess): Promise<boolean> {
    try {
      await process.qmp.execute('stop', undefined, LIMITS.rollback_stop_ms);
      return true;
    } catch (error) {
      this.#host.log('a guest did not stop for its rollback and is killed', { vm: this.spec.name, reason: reasonOf(error) });
      await process.kill();
      return false;
    }
  }

  /** While it is stopped and attached only what was touched is compared; a dead process leaves no trace of that, so all pages are. */
  async #rewrite(old: QemuProcess | null, stopped: boolean, epoch: number): Promise<void> {
    if (!stopped) await this.#memory.detach();
    const { pages, scanned } = await this.#memory.rollback(epoch);
    if (stopped) await this.#memory.detach();
    await old?.kill();
    this.#host.log('memory rolled back', { vm: this.spec.name, epoch, pages, scanned });
  }

  /** A guest that can never go on is ended, so that its host reports it like any death. */
  async #die(reason: string): Promise<void> {
    this.#host.log('a VM is ended', { vm: this.spec.name, reason });
    const process = this.#process;
    if (process === null) return;
    this.#process = null;
    if (this.#settled) this.#host.emit({ kind: 'exited', vm: this.spec.name, reason });
    await process.kill();
  }
}
