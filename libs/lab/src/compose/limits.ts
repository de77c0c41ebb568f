/** Bounds of the compose trial, with their reasons. Waits of a busy machine under emulation, not promises. */
export const limits = {
  /** dockerd answers within seconds; the first start makes its data root. */
  engine_start_ms: 60_000,
  engine_stop_ms: 30_000,
  /** The first build fetches packages and compiles everything. */
  build_ms: 1_800_000,
  /** All services healthy, one after the other; MinIO under load is the slowest. */
  up_ms: 300_000,
  apply_s: 240,
  /** Committed cuts wanted before the kill and after the recovery. */
  cuts: 10,
  cuts_ms: 180_000,
  recovery_ms: 120_000,
  /** Guests answer over emulated CPUs, and output waits for its commit. */
  guest_answer_ms: 30_000,
  guest_up_ms: 180_000,
  command_ms: 120_000,
  poll_ms: 1_000,
} as const;
