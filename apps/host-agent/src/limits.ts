/** Every bound of the host agent, with its reason. */
export const limits = {
  /** Heartbeat period: eight are missed before the earliest suspicion. */
  heartbeat_ms: 50,
  /** Output is released only while the own heartbeat came back over the bus within this (R10): longer than any hiccup of a loaded bus. */
  lease_ms: 2_000,
  /** A guest's send queue has 256 places and its port's socket about ten: as many rounds empty the one through the other. */
  quiesce_rounds: 40,
  /** No port's socket is full with fewer frames: the kernel's bound is ten datagrams, and jumbo frames fill its bytes with thirteen. */
  full_port_frames: 8,
  /** How long a cut waits for its channels after the capture; a peer not heard by then is named `down` (R6). */
  channel_wait_ms: 500,
  /** A segment refers to pages that were committed at most this long ago, half of the grace that garbage has: none of them is removed before the pack is stored, and holds them. */
  reference_age_ms: 300_000,
  /** A larger section, of a first segment, is never referred to: to look at its pages would keep the next cut waiting. */
  catalogued_section_bytes: 8 * 1024 * 1024,
  /** Sections kept until their epoch is committed, so that others can refer to them: of far more epochs than wait in an outage of some seconds; older ones are never referred to. */
  uncommitted_section_bytes: 64 * 1024 * 1024,
  /** Retries of an upload, or of a load, while the store is away (R24): first and longest wait. */
  upload_retry_min_ms: 50,
  upload_retry_max_ms: 2_000,
  /** Of what the store said, in a heartbeat: an operator's sentence, not a page. */
  told_failure_chars: 300,
  load_retry_ms: 100,
  /** Chunks of a base image, 1 MiB each, that are compressed and sent at once: enough to fill a link, and little to hold. */
  upload_chunks: 4,
  /** Uploads of one image, when chunks that it found there are gone as garbage once it names them: twice in a row is no chance any more. */
  image_attempts: 3,
  /** A later round of seeding sends a chunk of 256 pages again when so many of it were written; fewer are cheaper in the first cut, which holds pages and no chunks. */
  seed_dense_pages: 64,
  /** Seeding ends with a round that had no more pages to send again than this, 16 MiB of a memory. */
  seed_rest_pages: 4_096,
  /** Rounds of seeding at most: a guest that writes faster than its rate is never caught up with, and what is left comes with the first cut. */
  seed_rounds: 5,
  /** Timers fire late: as much is made up for, so that the rate is kept, and never more, so that a slow store is followed by no burst. */
  seed_slack_ms: 20,
  /** A chunk of a base waits for a cut that is on its way to the store, at most so long: cuts come first, and the base gets on. */
  seed_give_way_ms: 100,
  seed_give_way_poll_ms: 5,
  /** Between two questions whether the replica store has fetched a base for restores. */
  seed_prepare_poll_ms: 250,
  /** A seeding that failed begins again after this. */
  seed_retry_ms: 5_000,
  /** A capture that expects more dirty pages than this is preceded by copying while the guests run. */
  precopy_pages: 2_000,
  precopy_rounds: 3,
  /** Addresses are announced this often, at this distance, after a recovery: over two leases (R10). */
  announce_times: 8,
  announce_every_ms: 500,
  /** Bytes of one frame queue towards a guest, in frames; a real queue of a NIC holds 256 to 1024. */
  port_queue_frames: 1_024,
  /** Until the cluster's definition is known. */
  mtu: 1_500,
  /** Output held for so long counts as the bound reached (R11): no commit came for some hundred epochs. */
  held_output_age_ms: 10_000,
  /** How long an agent that starts first waits for the coordinator to make the streams. */
  streams_wait_ms: 120_000,
  /** A report that the bus did not take within its own patience is told again after this. */
  report_retry_ms: 500,
  /** Pages that a guest waits for: after this they are asked for again. */
  wanted_pages_ms: 5_000,
  /** A replica store that sends and takes nothing for this long is given up, then asked anew: above what it waits for a fold. */
  silent_store_ms: 25_000,
} as const;
