import { Controller } from '@nestjs/common';
import { ApiError, OnDecision, OnRequest, type StoredDecision } from '@virtcft/bus';
import { z } from 'zod';
import { limits } from './limits.js';
import { Replicas, type ListedCut } from './replicas.js';

const CutsRequest = z.object({ cluster: z.uuid(), limit: z.int().min(1).max(limits.listed_cuts).default(20) });

@Controller()
export class CutsController {
  constructor(private readonly replicas: Replicas) {}

  @OnDecision()
  onDecision(decision: StoredDecision): void { this.replicas.onDecision(decision); }

  @OnRequest('replica-store', 'cuts', CutsRequest)
  cuts({ cluster, limit }: z.infer<typeof CutsRequest>): { cuts: ListedCut[] } {
    const cuts = this.replicas.cuts(cluster, limit);
    if (cuts === null) throw new ApiError('not-found', `the replica store knows no cluster ${cluster}`, 'list the clusters with "virtcft status"');
    return { cuts };
  }
}
