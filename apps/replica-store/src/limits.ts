/** Every bound of the replica store, with its reason. */
export const limits = {
  /** One host's part of one epoch; a first, full one of a large host is the largest. It is held in memory while it is checked. */
  pack_bytes: 2 * 1024 * 1024 * 1024,
  /** Base images kept as files for each cluster, so that VMs of one image fetch it once: some usual system images. */
  base_image_bytes: 16 * 1024 * 1024 * 1024,
  /** Chunks of an image looked for at once. */
  chunk_looks: 16,
  /** Packs kept for the fold that follows their commit; older ones are read again from the object store. */
  recent_pack_bytes: 256 * 1024 * 1024,
  /** Packs kept behind their fold, because the next ones refer to their pages; what is older is read again from the object store. */
  referred_pack_bytes: 32 * 1024 * 1024,
  /** Pages of one section of a restore stream, 2 MiB of guest memory: few enough that a page which the guest waits for gets in between. */
  stream_pages: 512,
  /** Pages a guest waits for, in one answer. */
  wanted_pages: 4_096,
  /** A restore asks for a cut the moment it is the basis: the fold that leads there is waited for this long. */
  fold_wait_ms: 20_000,
  /** A restore that takes nothing for this long is over: until then no fold moves on. */
  stalled_ms: 10_000,
  /** Cuts named in one answer. */
  listed_cuts: 1_000,
  /** Cuts whose names are kept, to be verified by name; about an hour of ten a second. */
  remembered_cuts: 40_000,
  /** What a verification that somebody waits for may read, 64 MiB a second: a part of what a disk or a network gives, so that packs still find room. */
  verify_bytes_per_ms: 64 * 1024 * 1024 / 1_000,
  /** What the scrubber reads in the background, 4 MiB a second: a hundredth of a disk, and still 340 GiB a day. */
  scrub_bytes_per_ms: 4 * 1024 * 1024 / 1_000,
  /** When it has come to the newest cut, or the store is away: until it looks again. */
  scrub_idle_ms: 60_000,
  /** From the beginning of one pass over everything to that of the next: disks that rot do so in weeks. */
  scrub_again_ms: 7 * 86_400_000,
  /** Between two looks whether bases are due. */
  bases_every_ms: 2_000,
  /** What the writer of bases reads of the store and of its fold, 32 MiB a second: it hashes all of that, a tenth of a processor. */
  bases_read_bytes_per_ms: 32 * 1024 * 1024 / 1_000,
  /** Until it looks again whether a recovery is over. */
  bases_recovery_wait_ms: 200,
  /** From when an object is found to be garbage to its removal: a restore that was asked for when its cut was still retained has long begun. */
  garbage_grace_ms: 600_000,
  /** Between two looks for garbage, where a cluster has a retention. */
  garbage_every_ms: 60_000,
  /** Removed objects whose keys are kept, some 20 MB: who reads by an older listing is not to take them for lost. */
  remembered_removals: 100_000,
  /** Objects named in one answer. */
  told_objects: 1_000,
  /** Faults named in one answer; that many are enough to act on. */
  told_faults: 100,
  /** How long a store that starts first waits for the coordinator to make the streams. */
  streams_wait_ms: 120_000,
  /** A client that sends nothing for so long is gone. */
  idle_ms: 60_000,
} as const;
