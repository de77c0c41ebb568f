/** Bounds of a fill, with their reasons. */
export const LIMITS = {
  /** Pages asked from the source around a page that is waited for: neighbours are usually wanted next. */
  wanted_run_pages: 16,
  /** Requests for wanted pages on their way at once, per memory or disk. */
  wanted_requests: 8,
  /** A source that has failed without a break for this long is dead, and with it the VM. */
  source_give_up_ms: 15_000,
  source_retry_ms: 100,
} as const;
