/** Bounds of the object stores, with their reasons. Those of one adapter stand in its file. */
export const limits = {
  /** Of a file of sealing keys: some 90 bytes each, so several hundred; more is some other file. */
  key_file_bytes: 65_536,
  /** Until a file of keys is read anew for one more key that it did not name: a store full of foreign objects must not make a loop of it. */
  key_file_again_ms: 1_000,
  /** Sealed or opened at once, a few milliseconds: pages that a guest waits for are served by the same thread. */
  seal_turn_bytes: 4 * 1024 * 1024,
  /** Objects whose heads are kept for further ranges of them: the packs of a restore's chain. */
  opened_heads: 256,
  /** Heads read at once when the objects of each key are counted: enough to hide a server's latency. */
  head_reads: 16,
} as const;
