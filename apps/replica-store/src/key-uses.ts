import { ApiError } from '@virtcft/bus';
import type { KeyUse, ObjectStore } from '@virtcft/object-store';

export interface KeyUseResult { readonly current: string; readonly plain_accepted: boolean; readonly keys: readonly KeyUse[] }

/** Counts on request which keys the objects need. Who asks while it counts gets the same answer: it looks at every object. */
export class KeyUses {
  private counting: Promise<KeyUse[]> | null = null;

  constructor(private readonly store: ObjectStore) {}

  /** Throws ApiError `not-found` where nothing is sealed. */
  async count(): Promise<KeyUseResult> {
    const { sealing } = this.store;
    if (sealing === undefined) throw new ApiError('not-found', 'the replica store has no keys: objects are stored as they are', 'docs/operations/encryption.md says how to begin');
    this.counting ??= sealing.use().finally(() => { this.counting = null; });
    const keys = await this.counting;
    return { current: sealing.current, plain_accepted: sealing.plain_accepted, keys };
  }
}
