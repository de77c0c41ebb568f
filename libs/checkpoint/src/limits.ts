/** Limits of the parsers: what a damaged or hostile length may cost. Far above what is ever written. */
export const limits = {
  /** Canonical JSON of a segment's header: names, hashes, a hypervisor's identity; about 500 bytes in practice. */
  segmentHeaderBytes: 4096,
  /** Disks of one VM: as many as a cluster file may name. */
  segmentDisks: 8,
  /** Raw device and CPU state of one VM; QEMU's is below 1 MiB. */
  deviceBytes: 64 * 1024 * 1024,
  /** Index of a pack: below 500 bytes for each VM of a host. */
  packIndexBytes: 1024 * 1024,
  packSegments: 1000,
  /** Segments that the ones of a pack refer to: as many as a catalog of pages holds. Some 330 bytes each in the index. */
  packReferences: 512,
  /** Of a host's name, numbers and a hash. */
  packKeyCharacters: 400,
  /** Sections that others refer to, kept while a chain is read: some hundred of usual deltas. */
  referredBytes: 64 * 1024 * 1024,
  channelFrames: 1_000_000,
  /** An Ethernet header at least; the length has 16 bits. */
  frameBytesMin: 14,
  frameBytesMax: 65_535,
  /** 1000 VMs and the packs of some hundred aborted epochs. */
  manifestBytes: 8 * 1024 * 1024,
  generationBytes: 4096,
  /** A cluster file of 1000 VMs with 8 disks each and long command lines. */
  definitionBytes: 8 * 1024 * 1024,
  /** Versions are padded to 10 digits in keys, as generations are. */
  definitionVersion: 0xffff_ffff,
  /** Each is a restore or a drill under way, or a person's wish. */
  definitionPins: 1000,
  /** Hashes of 125 000 chunks: some 120 GiB of data in one image, holes not counted. */
  imageBytes: 8 * 1024 * 1024,
  /** Hashes of a million chunks: 240 GiB of memory and disks of one VM that are not zero. */
  baseBytes: 64 * 1024 * 1024,
  /** Stored bytes of a chunk: what zstd adds to 1 MiB that it cannot compress, and far above. */
  chunkStoredBytes: 1024 * 1024 + 64 * 1024,
  /** Chunks of one content read at once, and their bytes at most: enough to hide a store's latency, little beside what a memory takes. */
  chunkReads: 16,
  chunkReadBytes: 4 * 1024 * 1024,
  /** Of a chain, ahead of what is folded: enough to keep a store and two processors busy; segments of a cut have a few MiB, full ones come one by one. */
  segmentReads: 8,
  segmentReadBytes: 32 * 1024 * 1024,
  /** Manifests, with the indexes of their packs, on the way back along a chain: some KiB each, and none needs the one before to be there. */
  cutReads: 8,
  /** Epochs are padded to 12 digits in keys; at ten a second that is 3000 years. */
  epoch: 999_999_999_999,
} as const;
