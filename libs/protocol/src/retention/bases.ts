import type { ClusterSpec } from '@virtcft/events';

export type BasePolicy = ClusterSpec['bases'];

/** How far a cluster is from its last bases, and what storing cost so far. */
export interface BaseFacts {
  /** Cuts committed since the one of the newest bases, or since the first. */
  readonly cuts: number;
  /** Of packs, and of bases: since the same moment. */
  readonly stored_bytes: number;
  readonly written_bytes: number;
}

/**
 * Whether new bases are due: the chain has the length, and bases have cost no more than their share of what cuts did. So a chain is longer where bases are
 * dear, and bases never take more than the share, but for the last ones.
 */
export const basesDue = ({ every, share_percent }: BasePolicy, { cuts, stored_bytes, written_bytes }: BaseFacts): boolean =>
  every > 0 && cuts >= every && written_bytes <= share_percent / 100 * stored_bytes;
