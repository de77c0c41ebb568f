import { HypervisorError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { HypervisorDriver, HypervisorIdentity, NicAttachment, PageSource, VmEvent, VmImage, VmSpec } from '../../port.js';
import type { XenCabling } from './cabling.js';
import { checkXenSpec, listed, xlInfo } from './domain-file.js';
import { LIMITS } from './limits.js';
import { localTransport, type XenTransport } from './transport.js';
import { XenVm, type XenVmHost } from './vm.js';

export interface XenDriverOptions {
  /** Path of `virtcft-xen` in dom0. */
  readonly program: string;
  /** Names this driver on its host, so that a later one of the same name finds what it left. */
  readonly owner: string;
  /** How dom0 is reached; default: this process runs there. */
  readonly transport?: XenTransport;
  /** How long a guest may take to suspend; default 30 s. */
  readonly suspend_ms?: number;
  /** How long all VMs of the host may take to suspend before a cut is given up; default 3 s. */
  readonly stop_budget_ms?: number;
  /** Without it VMs with NICs are refused. */
  readonly cabling?: XenCabling;
  readonly log: Log;
}

/** Probes Xen. Throws `host-unfit` with what is missing and what to do. */
export async function createXenDriver(options: XenDriverOptions): Promise<XenDriver> {
  const transport = options.transport ?? localTransport;
  const probe = await transport.run([options.program, 'probe']);
  if (probe.code !== 0) throw new HypervisorError('host-unfit', probe.err.trim() || `${options.program} does not run in dom0`);
  const said = probe.out.toString('utf8');
  if (!/^pvh=yes$/m.test(said)) throw new HypervisorError('host-unfit', `Xen cannot run PVH guests here: ${said.trim()}`);
  const info = xlInfo((await transport.run(['xl', 'info'])).out.toString('utf8'));
  const identity: HypervisorIdentity = { driver: 'xen', version: /^xen=(.*)$/m.exec(said)?.[1] ?? '', machine: 'pvh', accel: 'hap', cpu: info.get('hw_caps') ?? '' };
  return new XenDriver(identity, options.stop_budget_ms ?? LIMITS.stop_budget_ms, { transport, program: options.program, owner: options.owner, suspend_ms: options.suspend_ms ?? LIMITS.suspend_ms, cabling: options.cabling ?? null, log: options.log });
}

export class XenDriver implements HypervisorDriver {
  readonly identity: HypervisorIdentity;
  readonly tracker = 'log-dirty' as const;
  readonly #host: XenVmHost;
  readonly #vms = new Map<string, XenVm>();
  readonly #beginning = new Map<string, Promise<unknown>>();
  readonly #listeners: ((event: VmEvent) => void)[] = [];
  #closed = false;

  /** Use `createXenDriver`. */
  constructor(identity: HypervisorIdentity, readonly stop_budget_ms: number, host: Omit<XenVmHost, 'emit' | 'forget'>) {
    this.identity = identity;
    this.#host = {
      ...host,
      emit: (event) => { this.#listeners.forEach((listener) => { listener(event); }); },
      forget: (vm) => { if (this.#vms.get(vm.spec.name) === vm) this.#vms.delete(vm.spec.name); },
    };
  }

  start(spec: VmSpec, nics: readonly NicAttachment[], options: { paused?: boolean } = {}): Promise<XenVm> {
    return this.#begin(spec, async () => {
      for (const path of spec.initrd === null ? [spec.kernel] : [spec.kernel, spec.initrd]) {
        if ((await this.#host.transport.run(['test', '-r', path])).code !== 0) throw new HypervisorError('spec-invalid', `VM ${spec.name}: cannot read ${path} in dom0`);
      }
      return XenVm.boot(this.#host, spec, nics, options.paused ?? false);
    });
  }

  load(spec: VmSpec, nics: readonly NicAttachment[], image: VmImage & { source: PageSource }): Promise<XenVm> {
    return this.#begin(spec, () => XenVm.load(this.#host, spec, nics, image));
  }

  prepare(): Promise<void> { return Promise.resolve(); }

  list(): readonly XenVm[] { return [...this.#vms.values()]; }

  async sweep(): Promise<readonly string[]> {
    const swept: string[] = [];
    for (const { domain, name } of await this.#domains()) {
      if (this.#vms.has(name) || this.#beginning.has(name)) continue;
      const owner = await this.#host.transport.run(['xenstore-read', `/local/domain/${domain}/virtcft`]);
      if (owner.code !== 0 || owner.out.toString('utf8').trim() !== this.#host.owner) continue;
      const ended = await this.#host.transport.run(['xl', 'destroy', String(domain)]);
      if (ended.code !== 0) throw new HypervisorError('refused', `domain ${domain} (${name}) of an earlier agent cannot be destroyed: ${ended.err.trim()}`);
      swept.push(name);
    }
    return swept;
  }

  onEvent(listener: (event: VmEvent) => void): void { this.#listeners.push(listener); }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#beginning.values());
    await Promise.all(this.list().map((vm) => vm.destroy()));
  }

  async #begin(spec: VmSpec, work: () => Promise<XenVm>): Promise<XenVm> {
    if (this.#closed) throw new HypervisorError('wrong-state', 'the driver is closed');
    checkXenSpec(spec, this.#host.cabling !== null);
    if (this.#vms.has(spec.name) || this.#beginning.has(spec.name)) throw new HypervisorError('vm-exists', `VM ${spec.name} is on this host already`);
    const beginning = this.#room(spec).then(work);
    this.#beginning.set(spec.name, beginning);
    try {
      const vm = await beginning;
      this.#vms.set(spec.name, vm);
      return vm;
    } finally {
      this.#beginning.delete(spec.name);
    }
  }

  async #room(spec: VmSpec): Promise<void> {
    if ((await this.#domains()).some(({ name }) => name === spec.name)) throw new HypervisorError('vm-exists', `there is a domain ${spec.name} on this host; sweep it first if an earlier agent left it`);
    const info = xlInfo((await this.#host.transport.run(['xl', 'info'])).out.toString('utf8'));
    const free_mib = Number(info.get('free_memory') ?? NaN);
    if (free_mib < spec.memory_mib) throw new HypervisorError('no-room', `VM ${spec.name} needs ${spec.memory_mib} MiB, Xen has ${free_mib} MiB free`);
  }

  async #domains(): Promise<ReturnType<typeof listed>> {
    const answer = await this.#host.transport.run([this.#host.program, 'list']);
    if (answer.code !== 0) throw new HypervisorError('refused', answer.err.trim());
    return listed(answer.out.toString('utf8'));
  }
}
