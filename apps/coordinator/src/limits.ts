/** Bounds of the coordinator's shell, with their reasons. */
export const limits = {
  /** After the store or the bus failed a step: long enough not to hammer it, short enough to be part of a recovery. */
  retry_ms: 250,
  /** One write of a manifest or record; then the step is tried again. An S3 put may take seconds, a dead store takes for ever. */
  store_ms: 10_000,
  /** Reports are read again from this long before the last commit, on a takeover: what was stored for the window's epochs. */
  reports_before_ms: 60_000,
  /** Between the clocks of two machines; what is read twice for it is taken once. */
  clock_skew_ms: 5_000,
  /** Cuts that a restore can be asked for by number; about an hour of ten a second. */
  remembered_cuts: 40_000,
  /** Damaged objects remembered of a cluster; beyond it something is very wrong, and every one is in the reports. */
  known_damage: 100,
  /** The replica store is asked for known damage again after this, until it answers once. */
  ask_damage_ms: 5_000,
  /** Epochs back from the last whose manifests a rebuild reads: far more than the window and its aborts. */
  rebuild_epochs: 512,
  /** What a rebuild tells of each kind of what it leaves behind. */
  told_objects: 100,
  /** Clusters in one coordinator: each costs a fold and a timer. */
  clusters: 1_000,
} as const;
