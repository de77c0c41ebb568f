/** Every bound and patience of the deciders, each with its reason. Milliseconds are of the caller's monotonic clock. */
export const limits = {
  /** Twenty a second: silence shows within a few beats, and a beat is about 400 bytes. */
  heartbeat_ms: 50,
  /** Silence on the bus that nobody confirms nor denies: the peers are late themselves, as on a machine that is overrun; twenty lost beats. */
  silence_ms: 1_000,
  /** Silence on the bus that every peer confirms over the tunnel: two independent ways lost, so less patience is enough. */
  silence_confirmed_ms: 300,
  /** A host off the bus this long is dead whatever its peers see (R21). */
  silence_dead_ms: 2_000,
  /** Every host silent at once looks like a fault between the watcher and them; nothing could be restored anyway, as before a cluster's first cut. */
  silence_everyone_ms: 10_000,
  /** A tunnel says hello every 50 ms; a peer that heard the host within this is a witness for its life. */
  witness_fresh_ms: 200,
  /** The watcher's own beat: finer than the hosts', so that its clock is. */
  watcher_beat_ms: 25,
  /** The watcher's clock takes at most this from one loopback beat to the next: a stalled watcher sees no time pass (R21). */
  watcher_step_ms: 100,
  /** Patience grows by this many deviations of the beats' gaps, as the accrual detectors do. */
  silence_deviations: 6,
  /** A host counts as alive for admission when its agent was heard within this. */
  alive_ms: 1_500,
  /** Hosts that are not there yet are waited for this long before VMs without a named host are placed. */
  start_grace_ms: 3_000,
  /** A raise that its author did not finish is taken over after this (R16). */
  takeover_ms: 1_500,
  /** How long a host at a two-phase barrier stands still for the seal (R4a): far above any round trip over the bus, and as long as its VMs may take to stop. */
  seal_wait_ms: 1_000,
  /** Deadlines that an epoch is given before the first cut: a full upload is some tens to hundreds of times a delta. */
  first_cut_deadlines: 12,
  /** Aborts in a row with the same host missing before it is decided on (R22): a minute at the default deadline, since a host that stores slowly still protects. */
  straggler_aborts: 12,
  /** What a guest's clocks move ahead at once: its kernel reports a lock-up after 20 s without a sign of life, and the last may be 4 s old (R25). */
  clock_ahead_ms: 10_000,
  /** raised or planned -> all loaded. A lazy load needs well under a second; a machine that pages needs more. */
  load_ms: 30_000,
  /** resumed -> all run. */
  resume_ms: 10_000,
  /** Where a cluster file does not say from which memory on VMs are seeded, and how fast (R20): below it a full first segment takes some seconds; a part of a usual link or disk. */
  seed_from_mib: 1_024,
  seed_mib_per_s: 64,
  /** Room for a protected VM: its memory, the base of equal size, and layers of a quarter of it (R1, R20). */
  room_factor: 2.25,
  /** The hypervisor process beside the guest's memory: code, devices, translated blocks up to their cap. */
  room_process_mib: 64,
  /** Epochs left out after a rebuild: those that were opened, and of which nothing reached the store; far more than a window. */
  rebuilt_epochs: 1_000,
  /** Packs remembered since the tip: W epochs and their aborts, for every host; beyond it something is very wrong. */
  packs: 4_096,
  /** How much of a new commit latency enters the smoothed one: about the last ten epochs count (R24). */
  commit_smoothing: 0.2,
  /** A store that takes this many times what a commit usually takes is late: commits vary by half of their time. */
  late_commits: 2,
} as const;
