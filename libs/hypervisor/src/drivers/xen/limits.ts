/** Bounds of the Xen driver. */
export const LIMITS = {
  /** A reply's line: a dozen numbers, or an error with its advice. */
  line_bytes: 8_192,
  /** What follows a line: a section of the whole memory of a guest. */
  payload_bytes: 2 ** 31,
  /** A guest's own suspend takes milliseconds, under emulation on a busy machine seconds; after this it is taken for one that does not answer. */
  suspend_ms: 30_000,
  /** A suspend goes through the guest's kernel and its drivers, one that is busy or has no processor takes its time: three times QEMU's, which asks no guest. */
  stop_budget_ms: 3_000,
} as const;
