/** The fabric's limits in one place, each with its reason. Those of the native thread are in native/src/fabric/limits.h. */
export const LIMITS = {
  /** Ethernet's own. */
  mtu: 1500,
  /** IPv6 needs 1280; below it guests with IPv6 would not speak. */
  mtu_least: 1280,
  /** Jumbo frames; a tunnel datagram is then seven fragments on a link of 1500, more is a waste. */
  mtu_most: 9000,
  /** Held output of one host: at an epoch of 100 ms and 1 Gbit/s some 12 MB per uncommitted epoch; five of them and more fit. */
  heldOutput_bytes: 64 * 1024 * 1024,
  /** What a cluster file may ask for: a batch of full frames; guests that send more than that in an epoch are held back at each. */
  heldOutput_bytes_least: 64 * 1024,
  heldOutput_bytes_most: 8 * 1024 * 1024 * 1024,
  /** Output that waited so long: no commit came for some hundred epochs, TCP on both sides has slowed down by itself. */
  heldOutputAge_ms: 10_000,
  heldOutputAge_ms_least: 100,
  heldOutputAge_ms_most: 3_600_000,
  /** A tunnel secret: a key's worth of random bytes; what is larger than a few kilobytes is another file. */
  secret_bytes_least: 32,
  secret_bytes_most: 4_096,
  /** What may wait for one guest that does not read: a cut's held frames at 1 Gbit/s for 30 ms in small frames. */
  portQueue_frames: 4096,
  portQueue_frames_least: 16,
  portQueue_frames_most: 1 << 20,
  /** A host's number is one byte of the tunnel header. */
  host_most: 255,
  /** A unix socket's path (sun_path less its end). */
  path_bytes: 107,
  /** An interface's name (IFNAMSIZ less its end). */
  interface_bytes: 15,
  /** After it a peer that sent no marker counts as down for this cut; an epoch has aborted long before. */
  channelTimeout_ms_most: 60_000,
} as const;
