/** Bounds of disks, with their reasons. */
export const LIMITS = {
  /** A page section counts blocks in 30 bits: 4 TiB. */
  bytes: 2 ** 42,
  /** Blocks are pages, so that memory and disks share their sections. */
  block_bytes: 4096,
  /** What is kept of qemu-img's complaint for an error message. */
  complaint_bytes: 2_000,
} as const;
