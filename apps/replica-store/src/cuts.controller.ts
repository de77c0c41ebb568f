import { Controller } from '@nestjs/common';
import { ApiError, OnDecision, OnRequest, type StoredDecision } from '@virtcft/bus';
import { Epoch, Generation } from '@virtcft/events';
import { z } from 'zod';
import { Collector, type CollectionResult, type Told } from './collector.js';
import { KeyUses, type KeyUseResult } from './key-uses.js';
import { limits } from './limits.js';
import { Scrubber } from './scrubber.js';
import { Replicas, type ListedCut } from './replicas.js';
import { Verifications, type VerificationStatus } from './verification.js';

const VerifyRequest = z.object({
  cluster: z.uuid(),
  /** Null: the newest. */
  cut: z.object({ generation: Generation, epoch: Epoch }).nullable().default(null),
  /** Everything, instead of one cut. */
  all: z.boolean().default(false),
});
const KeysRequest = z.object({});
const GcRequest = z.object({ cluster: z.uuid(), by: z.string().min(1).max(200), dry_run: z.boolean() });
const DamageRequest = z.object({ cluster: z.uuid() });
const VerificationRequest = z.object({ id: z.uuid() });
const CutsRequest = z.object({ cluster: z.uuid(), limit: z.int().min(1).max(limits.listed_cuts).default(20) });

@Controller()
export class CutsController {
  constructor(
    private readonly replicas: Replicas, private readonly verifications: Verifications, private readonly collector: Collector, private readonly scrubber: Scrubber, private readonly keyUses: KeyUses,
  ) {}

  @OnDecision()
  onDecision(decision: StoredDecision): void { this.replicas.onDecision(decision); }

  @OnRequest('replica-store', 'cuts', CutsRequest)
  cuts({ cluster, limit }: z.infer<typeof CutsRequest>): { cuts: ListedCut[] } {
    const cuts = this.replicas.cuts(cluster, limit);
    if (cuts === null) throw new ApiError('not-found', `the replica store knows no cluster ${cluster}`, 'list the clusters with "virtcft status"');
    return { cuts };
  }

  /** Starts it; `verification` tells how it goes on. */
  @OnRequest('replica-store', 'verify', VerifyRequest)
  async verify({ cluster, cut, all }: z.infer<typeof VerifyRequest>): Promise<VerificationStatus> {
    const cuts = this.replicas.cuts(cluster, limits.remembered_cuts);
    if (cuts === null) throw new ApiError('not-found', `the replica store knows no cluster ${cluster}`, 'list the clusters with "virtcft status"');
    if (all) return this.verifications.start(cluster, { all: await this.collector.expected(cluster, cuts) });
    const found = this.replicas.cut(cluster, cut);
    if (found === null) throw new ApiError('not-found', cut === null ? 'no cut is committed yet' : `cut ${cut.generation}-${cut.epoch} is not among the newest ${cuts.length}`, 'list them with "virtcft get cuts"');
    return this.verifications.start(cluster, { cut: found });
  }

  @OnRequest('replica-store', 'verification', VerificationRequest)
  verification({ id }: z.infer<typeof VerificationRequest>): VerificationStatus { return this.verifications.status(id); }

  /** What the scrubber knows (R18): a coordinator that starts asks for it. */
  @OnRequest('replica-store', 'damage', DamageRequest)
  async damage({ cluster }: z.infer<typeof DamageRequest>): Promise<{ watermark: Awaited<ReturnType<Scrubber['watermark']>>; keys: string[] }> {
    return { watermark: await this.scrubber.watermark(cluster), keys: await this.scrubber.damaged(cluster) };
  }

  /** Which keys the store's objects are sealed with. */
  @OnRequest('replica-store', 'keys', KeysRequest)
  keys(): Promise<KeyUseResult> { return this.keyUses.count(); }

  @OnRequest('replica-store', 'gc', GcRequest)
  gc({ cluster, by, dry_run }: z.infer<typeof GcRequest>): Promise<CollectionResult> {
    const told = (): Told => {
      const known = this.replicas.told(cluster);
      if (known === null) throw new ApiError('not-found', `the replica store knows no cluster ${cluster}, or reads the log still`, 'list the clusters with "virtcft status"');
      return known;
    };
    return this.collector.collect(told, by, dry_run);
  }
}
