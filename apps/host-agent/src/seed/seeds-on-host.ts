import { limits as protocol } from '@virtcft/protocol';
import { metrics } from '@virtcft/telemetry';
import type { HostedVm } from '../disks/hosted-vm.js';
import type { HostContext } from '../host-context.js';
import { limits } from '../limits.js';
import { pause } from '../pause.js';
import { seedMemory } from './seed-memory.js';

/** What the chain of a VM begins with: its memory's base, in the store and here. */
export interface SeededBase {
  /** The base's in memory: the parent that the first capture is encoded against. */
  readonly epoch: number;
  readonly image: string;
}

interface UnderWay { readonly ending: AbortController; share: number }

/** The VMs of this host that are brought into protection while they run (R20): bases are made of them, several at once, each at its rate. */
export class SeedsOnHost {
  private readonly underWay = new Map<string, UnderWay>();
  private readonly done = new Map<string, SeededBase>();

  /** `sending`: a cut is on its way to the store. */
  constructor(private readonly host: HostContext, private readonly sending: () => boolean) {}

  /** The base that is stored of this VM; none where its first segment holds all of it. */
  baseOf(vm: string): SeededBase | null { return this.done.get(vm) ?? null; }

  /** How much of its base is stored, from 0 to 1; undefined where none is being made. */
  shareOf(vm: string): number | undefined { return this.underWay.get(vm)?.share; }

  /** Of exactly these a base is being made from now on. One that is stored already stays. */
  want(vms: readonly string[], generation: number): void {
    for (const [vm, { ending }] of this.underWay) {
      if (vms.includes(vm)) continue;
      ending.abort();
      this.underWay.delete(vm);
    }
    for (const name of vms) {
      const vm = this.host.held.get(name);
      if (vm === undefined || this.underWay.has(name) || this.done.has(name)) continue;
      const one: UnderWay = { ending: new AbortController(), share: 0 };
      this.underWay.set(name, one);
      void this.untilSeeded(vm, generation, one);
    }
  }

  /** The VMs of this generation end, and with them what was made of them. */
  forget(): void {
    this.want([], 0);
    this.done.clear();
  }

  private async untilSeeded(vm: HostedVm, generation: number, one: UnderWay): Promise<void> {
    const { report, from, log } = this.host;
    const { name, memory_mib } = vm.spec;
    report({ type: 'vm.seeding', data: { ...from, generation, vm: name, memory_bytes: memory_mib * 2 ** 20 } }, {});
    while (!one.ending.signal.aborted) {
      try {
        await this.seed(vm, generation, one);
        return;
      } catch (error) {
        if (one.ending.signal.aborted) return;
        log.warn({ err: error, vm: name, retry_in_ms: limits.seed_retry_ms }, 'the base of a VM could not be made; it begins again');
        await pause(limits.seed_retry_ms, one.ending.signal);
      }
    }
  }

  private async seed(vm: HostedVm, generation: number, one: UnderWay): Promise<void> {
    const { cluster, report, from, log, replicas, spec } = this.host;
    const { signal } = one.ending;
    const { name, memory_mib } = vm.spec;
    const begun_ms = performance.now();
    const seed = await vm.beginSeed();
    const seeded = seed === null ? null : await seedMemory(seed, replicas, {
      cluster, memory_bytes: memory_mib * 2 ** 20, bytes_per_s: (spec().policies.seed_mib_per_s ?? protocol.seed_mib_per_s) * 2 ** 20, signal, onProgress: (share) => { one.share = share; },
      giveWay: async () => {
        for (let waited_ms = 0; this.sending() && waited_ms < limits.seed_give_way_ms; waited_ms += limits.seed_give_way_poll_ms) await pause(limits.seed_give_way_poll_ms, signal);
      },
    });
    // What is left is copied while the guest runs, so that its first cut pauses it no longer than any.
    for (let round = 0; round < limits.precopy_rounds; round += 1) if ((await vm.precopy()).pages <= limits.precopy_pages) break;
    if (signal.aborted) return;
    const seed_ms = performance.now() - begun_ms;
    if (seed !== null && seeded !== null) this.done.set(name, { epoch: seed.epoch, image: seeded.image });
    this.underWay.delete(name);
    log.info({ vm: name, seed_ms: Math.round(seed_ms), ...seeded }, 'a base of this VM is stored');
    metrics.storedBytes(seeded?.stored_bytes ?? 0, { cluster });
    report({
      type: 'vm.seeded',
      data: { ...from, generation, vm: name, image: seeded?.image ?? null, seed_ms, seeded_bytes: seeded?.seeded_bytes ?? 0, stored_bytes: seeded?.stored_bytes ?? 0, rounds: seeded?.rounds ?? 0 },
    }, {});
  }
}
