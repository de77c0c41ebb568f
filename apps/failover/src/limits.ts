/** Bounds of the failover's shell, with their reasons. */
export const limits = {
  /** A suspicion that still holds and was not acted on is told again: it may have been of a generation that ended meanwhile. */
  repeat_ms: 500,
  /** After the bus failed a step. */
  retry_ms: 250,
  /** Reports are read again from this long before the raise, when a failover starts in the middle of a recovery. */
  reports_before_ms: 5_000,
  /** How long the streams are waited for at the start: the coordinator makes them. */
  streams_wait_ms: 60_000,
  /** Another machine's clock; what is read twice for it is taken once. */
  clock_skew_ms: 5_000,
} as const;
