import { HypervisorError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { CaptureParts, EncodedMemory, NicAttachment, PageSource, RunState, Vm, VmCapture, VmEvent, VmImage, VmSpec, VmStats } from '../../port.js';
import type { XenCabling } from './cabling.js';
import { domainFile } from './domain-file.js';
import { XenSession } from './session.js';
import type { XenTransport } from './transport.js';

/** What a VM needs of the driver that holds it. */
export interface XenVmHost {
  readonly transport: XenTransport;
  readonly program: string;
  readonly owner: string;
  readonly suspend_ms: number;
  readonly cabling: XenCabling | null;
  readonly log: Log;
  emit(event: VmEvent): void;
  forget(vm: Vm): void;
}

/** From a stop to the next resume. */
interface Stop { readonly ordered_ms: number; readonly stop_ms: number; parts: CaptureParts | null }

const ENDED: Readonly<Record<string, RunState>> = { off: 'off', rebooting: 'off', crashed: 'panicked' };
const NO_PARTS: CaptureParts = { stop_ms: 0, scan_ms: 0, copy_ms: 0, state_ms: 0, resume_ms: 0 };

/** One PVH domain, held by a `virtcft-xen serve` in dom0. */
export class XenVm implements Vm {
  readonly spec: VmSpec;
  readonly #host: XenVmHost;
  readonly #session: XenSession;
  #domain = 0;
  #runState: RunState = 'running';
  /** Never ran since it was created, loaded or rolled back: its domain is paused. */
  #held = true;
  #stop: Stop | null = null;
  #state: Promise<Buffer> | null = null;
  #gone: string | null = null;
  #settled = false;
  #memory = { base_bytes: 0, layer_bytes: 0, layers: 0 };

  private constructor(host: XenVmHost, spec: VmSpec) {
    this.spec = spec;
    this.#host = host;
    this.#session = new XenSession(host.transport.open([host.program, 'serve']), (condition) => { this.#heard(condition); });
    void this.#session.ended.then((reason) => { this.#die(`virtcft-xen: ${reason}`); });
  }

  static async boot(host: XenVmHost, spec: VmSpec, nics: readonly NicAttachment[], paused: boolean): Promise<XenVm> {
    await plug(host, spec, nics);
    const made = await host.transport.run(['sh', '-c', 'f=$(mktemp) && cat > "$f" && xl create -e -p -q "$f"; code=$?; rm -f "$f"; exit $code'], domainFile(spec, host.cabling?.script));
    if (made.code !== 0) {
      await unplug(host, spec);
      const room = /memory|ENOMEM|free/i.test(made.err);
      throw new HypervisorError(room ? 'no-room' : 'spec-invalid', `xl cannot create ${spec.name}: ${made.err.trim()}`);
    }
    const vm = new XenVm(host, spec);
    return vm.#begin(async () => {
      const attached = await vm.#session.ask(['attach', spec.name]);
      if (attached.number('pages') !== spec.memory_mib * 256) throw new HypervisorError('spec-invalid', `VM ${spec.name}: Xen gave it ${attached.number('pages')} pages, not ${spec.memory_mib} MiB`);
      await vm.#own(attached.number('domain'));
      if (!paused) await vm.resume();
    });
  }

  static load(host: XenVmHost, spec: VmSpec, nics: readonly NicAttachment[], image: VmImage & { source: PageSource }): Promise<XenVm> {
    const vm = new XenVm(host, spec);
    return vm.#begin(async () => {
      await plug(host, spec, nics);
      vm.#runState = image.runState;
      await vm.#session.ask(['fill', spec.memory_mib * 256, image.epoch]);
      for await (const section of image.source.all(new AbortController().signal)) await vm.#session.ask(['supply'], section);
      await vm.#session.ask(['filled']);
      await vm.#build(image);
    });
  }

  get runState(): RunState { return this.#runState; }

  async precopy(): Promise<{ pages: number }> {
    this.#alive();
    if (this.#stop) throw new HypervisorError('wrong-state', `VM ${this.spec.name} is stopped: pre-copy is for a running guest`);
    return { pages: (await this.#session.ask(['precopy'])).number('pages') };
  }

  async stop(): Promise<void> {
    this.#alive();
    if (this.#stop) throw new HypervisorError('wrong-state', `VM ${this.spec.name} is stopped already`);
    const ordered_ms = performance.now();
    this.#stop = { ordered_ms, stop_ms: 0, parts: null };
    try {
      // A guest that never ran, is paused or has ended stands as it is.
      if (!this.#held && this.#runState === 'running') await this.#session.ask(['suspend', this.#host.suspend_ms]);
      this.#stop = { ordered_ms, stop_ms: performance.now() - ordered_ms, parts: null };
    } catch (error) {
      this.#stop = null;
      throw error;
    }
  }

  /** The guest's own suspend has quieted its devices. */
  settle(): Promise<void> { return Promise.resolve(); }

  async capture(epoch: number): Promise<VmCapture> {
    const stop = this.#stopped('a capture');
    const captured = await this.#session.ask(['capture', epoch]);
    const ms = (key: string): number => captured.number(key) / 1000;
    stop.parts = { stop_ms: stop.stop_ms, scan_ms: ms('scan_us'), copy_ms: ms('copy_us'), state_ms: ms('state_us'), resume_ms: 0 };
    this.#state = null;
    let state: Promise<Buffer> | null = null;
    const deviceState = (): Promise<Buffer> => (state ??= this.#readState());
    this.#readLater = deviceState;
    return { vm: this.spec.name, epoch, runState: this.#runState, dirtyPages: captured.number('pages'), deviceState };
  }
  /** Reads the state of the last capture, before the next one replaces it. */
  #readLater: (() => Promise<Buffer>) | null = null;
  #readState(): Promise<Buffer> { return (this.#state ??= this.#session.ask(['state']).then(({ payload }) => payload)); }

  async resume(): Promise<{ pause_ms: number; parts: CaptureParts }> {
    this.#alive();
    const from_ms = performance.now();
    if (this.#runState === 'running') {
      if (this.#held) await this.#session.ask(['unpause']);
      else if (this.#stop) await this.#session.ask(['resume']);
      this.#held = false;
    }
    const stop = this.#stop;
    this.#stop = null;
    const now_ms = performance.now();
    const later = this.#readLater;
    this.#readLater = null;
    if (later) later().catch(() => undefined);
    return { pause_ms: stop ? now_ms - stop.ordered_ms : 0, parts: { ...(stop?.parts ?? NO_PARTS), resume_ms: now_ms - from_ms } };
  }

  async encode(parent: number | null, epoch: number): Promise<EncodedMemory> {
    this.#alive();
    const encoded = await this.#session.ask(parent === null ? ['encode', epoch] : ['encode', epoch, parent]);
    return { section: encoded.payload, pages: encoded.number('pages'), sources: [], encode_ms: encoded.number('encode_us') / 1000 };
  }

  async commit(epoch: number): Promise<void> {
    this.#alive();
    await this.#session.ask(['fold', epoch]);
    await this.#count();
  }

  /** The guest suspends and stays so: a paused VM can be captured, and restored anywhere. */
  async pause(): Promise<void> {
    this.#alive();
    if (this.#stop) throw new HypervisorError('wrong-state', `VM ${this.spec.name} is stopped for a capture`);
    if (this.#runState !== 'running') return;
    if (!this.#held) await this.#session.ask(['suspend', this.#host.suspend_ms, 'paused']);
    this.#runState = 'paused';
  }

  async unpause(): Promise<void> {
    this.#alive();
    if (this.#stop) throw new HypervisorError('wrong-state', `VM ${this.spec.name} is stopped for a capture`);
    if (this.#runState !== 'paused') return;
    this.#runState = 'running';
    await this.#session.ask([this.#held ? 'unpause' : 'resume']);
    this.#held = false;
  }

  async verify(epoch: number): Promise<number> {
    this.#stopped('a compare');
    return (await this.#session.ask(['compare', epoch])).number('differing');
  }

  async digest(epoch: number): Promise<string> { return (await this.#session.ask(['digest', epoch])).text('digest'); }

  async rollback(image: VmImage, quiet?: () => Promise<void>): Promise<void> {
    this.#settled = false;
    this.#stop = null;
    this.#runState = image.runState;
    this.#gone = null;
    await quiet?.();
    await this.#build(image);
    this.#settled = true;
  }

  stats(): VmStats {
    const shortcoming = this.spec.clock === 'stop' ? 'under Xen a guest takes real time from its host when it goes on' : 'under Xen monotonic time stands in every pause; real time follows';
    return { vm: this.spec.name, runState: this.#runState, tracker: 'log-dirty', memory: this.#memory, fill: null, clock: { policy: this.spec.clock, shortcoming, advanced_ms: 0, lost_ms: 0 } };
  }

  async destroy(): Promise<void> {
    this.#settled = false;
    await this.#session.ask(['destroy']).catch((error: unknown) => {
      this.#host.log('a domain could not be destroyed by its holder', { vm: this.spec.name, reason: error instanceof Error ? error.message : String(error) });
    });
    await this.#session.end();
    await unplug(this.#host, this.spec);
    this.#host.forget(this);
  }

  async #begin(work: () => Promise<void>): Promise<XenVm> {
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

  async #build(image: VmImage): Promise<void> {
    const built = await this.#session.ask(['build', this.spec.name, image.epoch], image.deviceState);
    this.#held = true;
    for (const [device, { mac }] of this.spec.nics.entries()) await this.#session.ask(['vif', device, mac, this.#host.cabling?.script ?? '']);
    await this.#own(built.number('domain'));
  }

  /** A later driver of this host finds what this one left. */
  async #own(domain: number): Promise<void> {
    this.#domain = domain;
    const written = await this.#host.transport.run(['xenstore-write', `/local/domain/${domain}/virtcft`, this.#host.owner]);
    if (written.code !== 0) throw new HypervisorError('refused', `xenstore-write: ${written.err.trim()}`);
    await this.#count();
  }

  async #count(): Promise<void> {
    const held = await this.#session.ask(['held']);
    this.#memory = { base_bytes: held.number('base_bytes'), layer_bytes: held.number('layer_bytes'), layers: held.number('layers') };
  }

  #heard(condition: string): void {
    const ended = ENDED[condition];
    if (!ended) {
      this.#die(`domain ${this.#domain} is ${condition}`);
      return;
    }
    if (condition === 'rebooting') this.#host.log('a guest asked for a reboot, which the Xen driver does not do: start it anew', { vm: this.spec.name });
    this.#runState = ended;
    this.#host.emit({ kind: 'run-state', vm: this.spec.name, runState: ended });
  }

  #die(reason: string): void {
    if (this.#gone !== null) return;
    this.#gone = reason;
    if (this.#settled) this.#host.emit({ kind: 'exited', vm: this.spec.name, reason });
  }

  #alive(): void {
    if (this.#gone !== null) throw new HypervisorError('vm-gone', `VM ${this.spec.name} is gone: ${this.#gone}`);
  }

  #stopped(what: string): Stop {
    this.#alive();
    if (!this.#stop) throw new HypervisorError('wrong-state', `VM ${this.spec.name} runs: ${what} needs it stopped`);
    return this.#stop;
  }
}

async function plug(host: XenVmHost, spec: VmSpec, nics: readonly NicAttachment[]): Promise<void> {
  try {
    for (const nic of nics) await host.cabling?.plug(nic);
  } catch (error) {
    await unplug(host, spec);
    throw error;
  }
}

async function unplug(host: XenVmHost, spec: VmSpec): Promise<void> {
  for (const { mac } of spec.nics) {
    await host.cabling?.unplug(mac).catch((error: unknown) => { host.log('a NIC\'s cable could not be unplugged', { vm: spec.name, mac, reason: error instanceof Error ? error.message : String(error) }); });
  }
}
