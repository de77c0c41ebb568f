import { access, constants, readdir, statfs } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { probeTracker } from '@virtcft/native';
import type { TrackerKind } from '@virtcft/native';
import { HypervisorError, codeOf, reasonOf } from '../../errors.js';
import type { Log } from '../../log.js';
import type { HypervisorDriver, HypervisorIdentity, NicAttachment, PageSource, VmEvent, VmImage, VmSpec } from '../../port.js';
import { checkSpec } from './command-line.js';
import { LIMITS } from './limits.js';
import { Prefixes } from './prefix.js';
import { checkRunDir, probeQemu } from './probe.js';
import { sweepRunDir } from './sweep.js';
import { QemuVm } from './vm.js';
import type { VmHost } from './vm.js';

export interface QemuDriverOptions {
  /** A directory on a tmpfs that is this driver's alone: guest memory, device states, consoles, one directory per VM. */
  readonly runDir: string;
  /** Default `qemu-system-x86_64`. */
  readonly qemu?: string;
  /** Default: the best that the kernel offers. */
  readonly tracker?: TrackerKind;
  readonly log: Log;
}

/** Probes the host and QEMU. Throws `host-unfit` with what is missing and what to do. */
export async function createQemuDriver(options: QemuDriverOptions): Promise<QemuDriver> {
  const runDir = resolve(options.runDir);
  await checkRunDir(runDir);
  const qemu = options.qemu ?? 'qemu-system-x86_64';
  const { identity, model, clock } = await probeQemu(qemu, runDir);
  const probe = probeTracker();
  const tracker = options.tracker ?? probe.best;
  if (tracker !== 'pagemap-scan') options.log('dirty pages are tracked in a slower way', { tracker, reason: probe.reasons.join('; ') });
  return new QemuDriver(identity, {
    qemu, model, runDir, tracker, lazyFill: probe.lazyFill && tracker === 'pagemap-scan', clock, prefixes: new Prefixes(qemu, model, runDir), log: options.log,
  });
}

export class QemuDriver implements HypervisorDriver {
  readonly identity: HypervisorIdentity;
  readonly tracker: TrackerKind;
  readonly stop_budget_ms = LIMITS.stop_budget_ms;
  readonly #host: VmHost;
  readonly #vms = new Map<string, QemuVm>();
  /** Names of VMs that are being started or loaded. */
  readonly #beginning = new Map<string, Promise<unknown>>();
  readonly #listeners: ((event: VmEvent) => void)[] = [];
  #closed = false;

  /** Use `createQemuDriver`. */
  constructor(identity: HypervisorIdentity, host: Omit<VmHost, 'emit' | 'forget'>) {
    this.identity = identity;
    this.tracker = host.tracker;
    this.#host = {
      ...host,
      emit: (event) => this.#listeners.forEach((listener) => listener(event)),
      forget: (vm) => {
        if (this.#vms.get(vm.spec.name) === vm) this.#vms.delete(vm.spec.name);
      },
    };
  }

  start(spec: VmSpec, nics: readonly NicAttachment[], options: { paused?: boolean } = {}): Promise<QemuVm> {
    return this.#begin(spec, nics, () => QemuVm.boot(this.#host, spec, nics, options.paused ?? false));
  }

  load(spec: VmSpec, nics: readonly NicAttachment[], image: VmImage & { source: PageSource }): Promise<QemuVm> {
    return this.#begin(spec, nics, () => QemuVm.load(this.#host, spec, nics, image));
  }

  async prepare(spec: VmSpec): Promise<void> {
    await this.#host.prefixes.of(spec);
  }

  list(): readonly QemuVm[] {
    return [...this.#vms.values()];
  }

  sweep(): Promise<readonly string[]> {
    return sweepRunDir(this.#host.runDir, new Set([...this.#vms.keys(), ...this.#beginning.keys()]));
  }

  onEvent(listener: (event: VmEvent) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#beginning.values());
    await Promise.all(this.list().map((vm) => vm.destroy()));
  }

  async #begin(spec: VmSpec, nics: readonly NicAttachment[], work: () => Promise<QemuVm>): Promise<QemuVm> {
    if (this.#closed) throw new HypervisorError('wrong-state', 'the driver is closed');
    checkSpec(spec, nics);
    if (this.#vms.has(spec.name) || this.#beginning.has(spec.name)) throw new HypervisorError('vm-exists', `VM ${spec.name} is on this host already`);
    const beginning = this.#checkHost(spec).then(work);
    this.#beginning.set(spec.name, beginning);
    try {
      const vm = await beginning;
      this.#vms.set(spec.name, vm);
      return vm;
    } finally {
      this.#beginning.delete(spec.name);
    }
  }

  async #checkHost(spec: VmSpec): Promise<void> {
    const { runDir } = this.#host;
    for (const path of spec.initrd === null ? [spec.kernel] : [spec.kernel, spec.initrd]) {
      try {
        await access(path, constants.R_OK);
      } catch (error) {
        throw new HypervisorError('spec-invalid', `VM ${spec.name}: cannot read ${path} on this host: ${reasonOf(error)}`, { cause: error });
      }
    }
    if ((await filesOf(join(runDir, spec.name))).includes('ram')) {
      throw new HypervisorError('vm-exists', `${join(runDir, spec.name)} was left by an earlier agent; sweep the host first`);
    }
    const { bavail, bsize } = await statfs(runDir);
    const free_mib = Math.floor((bavail * bsize) / 2 ** 20);
    if (free_mib < spec.memory_mib) {
      throw new HypervisorError('no-room', `VM ${spec.name} needs ${spec.memory_mib} MiB, the tmpfs of ${runDir} has ${free_mib} MiB left`);
    }
  }
}

async function filesOf(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}
