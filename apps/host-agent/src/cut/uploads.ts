import { encodeSegment, packParts, type EncodedSegment } from '@virtcft/checkpoint';
import type { Identity, SegmentRef } from '@virtcft/events';
import type { Fabric } from '@virtcft/fabric';
import type { VmCapture } from '@virtcft/hypervisor';
import { metrics, span, type Logger, type TraceContext } from '@virtcft/telemetry';
import type { z } from 'zod';
import { limits } from '../limits.js';
import type { HostedVm } from '../disks/hosted-vm.js';
import { pause } from '../pause.js';
import { ReplicaStoreUnavailable, type ReplicaClient } from '../recovery/replica-client.js';
import type { SeededBase } from '../seed/seeds-on-host.js';
import type { HostCut } from './host-cut.js';
import { Lane } from './lane.js';

/** The segment that the next one of a VM is a delta on. */
export interface ChainTip { readonly epoch: number; readonly segment: string }

/** What the cuts of one generation are stored under. */
export interface UploadContext {
  readonly cluster: string;
  readonly host: string;
  readonly generation: number;
  readonly incarnation: string;
  readonly identity: z.infer<typeof Identity>;
  readonly hostNames: ReadonlyMap<number, string>;
  /** What the first segment of a VM is a change to, where a base of it was stored (R20). */
  readonly baseOf: (vm: string) => SeededBase | null;
}

export interface StoredCut {
  readonly cut: HostCut;
  readonly pack: { readonly key: string; readonly hash: string; readonly bytes: number };
  readonly segments: readonly SegmentRef[];
  readonly channels: { readonly frames: number; readonly down: readonly string[] };
}

/**
 * Encodes and stores the cuts of this host one after the other, so that every segment's parent is the last one *stored* (R2a): a cut that
 * was not stored is merged into the next. An abort never cancels an upload (R2); only the end of the generation does.
 */
export class Uploads {
  private readonly lane = new Lane();
  private readonly tips = new Map<string, ChainTip>();
  private ended = new AbortController();
  private current = 0;
  private puts = 0;
  private refused: string | null = null;

  constructor(private readonly replicas: ReplicaClient, private readonly fabric: Fabric, private readonly memory: Lane, private readonly log: Logger) {}

  /** A cut is on its way to the store. */
  get sending(): boolean { return this.puts > 0; }
  /** Why the store does not take the pack that is tried now, in its own words (R24); null while it does. */
  get failure(): string | null { return this.refused; }
  /** The generation whose cuts are stored. */
  get generation(): number { return this.current; }

  /** Nothing of the generation before is tried any more; what follows begins at these tips (none: full segments). */
  restartAt(generation: number, tips: ReadonlyMap<string, ChainTip>): void {
    this.current = generation;
    this.ended.abort();
    this.ended = new AbortController();
    this.tips.clear();
    for (const [vm, tip] of tips) this.tips.set(vm, tip);
  }

  /** Resolves with what was stored, or null when the generation ended first. */
  store(cut: HostCut, vms: readonly HostedVm[], context: UploadContext, trace: TraceContext): Promise<StoredCut | null> {
    const { signal } = this.ended;
    return this.lane.run(() => signal.aborted ? Promise.resolve(null) : span('store cut', { parent: trace, attributes: { epoch: cut.epoch } }, (at) => this.storeNow(cut, vms, context, at.trace, signal)));
  }

  private async storeNow(cut: HostCut, vms: readonly HostedVm[], context: UploadContext, trace: TraceContext, signal: AbortSignal): Promise<StoredCut | null> {
    const begun_ms = performance.now();
    // On the memory lane: an encoder at work would lengthen the pause of the next cut.
    const encoded = await this.memory.run(async () => signal.aborted ? null : Promise.all(cut.captures.map((capture) => this.encode(capture, vms, context))));
    if (encoded === null) return null;
    const encoded_ms = performance.now();
    const channel = await this.fabric.channelState(cut.epoch, limits.channel_wait_ms);
    if (signal.aborted) return null;
    const down = channel.down.map((number) => context.hostNames.get(number) ?? `host-${number}`);
    const pack = packParts({
      cluster: context.cluster, generation: context.generation, incarnation: context.incarnation, epoch: cut.epoch, host: context.host,
      segments: encoded.map(({ segment }) => segment), channel: channel.frames, down,
    });
    const packed_ms = performance.now();
    this.puts += 1;
    const stored = await this.put(pack.key, pack.parts, trace, signal).finally(() => {
      this.puts -= 1;
      this.refused = null;
    });
    if (!stored) return null;
    // Stored, but the generation ended meanwhile: the tips are of the restored cut already (R2a).
    if (signal.aborted) return null;
    for (const { segment } of encoded) this.tips.set(segment.header.vm, { epoch: cut.epoch, segment: segment.hash });
    this.log.debug({ epoch: cut.epoch, bytes: pack.total_bytes, encode_ms: encoded_ms - begun_ms, channel_ms: packed_ms - encoded_ms, put_ms: performance.now() - packed_ms }, 'cut stored');
    metrics.storedBytes(pack.total_bytes, { cluster: context.cluster });
    return {
      cut, pack: { key: pack.key, hash: pack.hash, bytes: pack.total_bytes }, segments: encoded.map(({ ref }) => ref),
      channels: { frames: channel.frames.length, down },
    };
  }

  private async encode(capture: VmCapture, vms: readonly HostedVm[], context: UploadContext): Promise<{ segment: EncodedSegment; ref: SegmentRef }> {
    const vm = vms.find((each) => each.spec.name === capture.vm);
    if (vm === undefined) throw new Error(`VM "${capture.vm}" is not on this host`);
    const parent = this.tips.get(capture.vm) ?? null;
    const base = parent === null ? context.baseOf(capture.vm) : null;
    const from = parent?.epoch ?? null;
    const [{ section, pages }, disks, device] = await Promise.all([vm.encode(from ?? base?.epoch ?? null, capture.epoch), vm.encodeDisks(from, capture.epoch), capture.deviceState()]);
    const identities = disks.map(({ name, bytes, image }) => ({ name, bytes, image }));
    const header = {
      cluster: context.cluster, vm: capture.vm, generation: context.generation, incarnation: context.incarnation, epoch: capture.epoch,
      parent: parent?.segment ?? null, kind: parent === null ? 'full' : 'delta', runState: capture.runState,
      memory_bytes: vm.spec.memory_mib * 1024 * 1024, ...(base === null ? {} : { image: base.image }), disks: identities, identity: context.identity,
    } as const;
    const segment = await encodeSegment(header, { pages: section, device, disks: disks.map((disk) => disk.section) });
    metrics.dirtyPages(pages, { cluster: context.cluster, vm: capture.vm });
    return {
      segment,
      ref: { vm: capture.vm, hash: segment.hash, parent: header.parent, kind: header.kind, runState: header.runState, memory_bytes: header.memory_bytes, dirty_pages: capture.dirtyPages, disks: identities },
    };
  }

  /** Tried until stored or the generation ends (R24): bytes are encoded once and kept. */
  private async put(key: string, parts: readonly Buffer[], trace: TraceContext, signal: AbortSignal): Promise<boolean> {
    for (let wait_ms: number = limits.upload_retry_min_ms; !signal.aborted; wait_ms = Math.min(wait_ms * 2, limits.upload_retry_max_ms)) {
      try {
        await this.replicas.putPack(key, parts, trace, signal);
        return true;
      } catch (error) {
        if (signal.aborted) return false;
        if (!(error instanceof ReplicaStoreUnavailable)) throw error;
        this.refused = error.said;
        this.log.warn({ key, retry_in_ms: wait_ms, reason: error.message }, 'the replica store does not take the pack; trying again');
        await pause(wait_ms, signal);
      }
    }
    return false;
  }
}
