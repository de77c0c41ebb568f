/** Every bound of the QEMU driver, with its reason. Times in milliseconds, sizes in bytes. */
export const LIMITS = {
  /** QEMU under emulation on a loaded machine was seen to take 0.2 s until it greets; ten seconds mean that it never will. */
  greeting_ms: 10_000,
  /** A control command answers within a few ms; more than this and the guest's process is of no use to a cluster with a 100 ms epoch. */
  command_ms: 10_000,
  /** A stop takes a few ms, on an overrun machine some hundred: after this the cut is given up. */
  stop_budget_ms: 1_000,
  /** A device load touches guest pages that may first have to come over the network. */
  load_ms: 60_000,
  /** For a SIGKILL to take effect: only a process in uninterruptible sleep takes longer. */
  kill_ms: 10_000,
  /** A stopped guest must answer quickly at a rollback, else it is killed and compared page by page. */
  rollback_stop_ms: 1_000,
  /** The longest line of QMP seen is some 20 KB (query-machines); a longer one than this is not QMP. */
  qmp_line_bytes: 1 << 20,
  /** Commands not answered yet; the driver sends at most a handful. QEMU itself queues eight. */
  qmp_pending: 64,
  /** What is kept of QEMU's stderr for error messages; a guest can make QEMU warn without end. */
  stderr_bytes: 8 << 10,
  /** A console log is cut here and begun again, the old part kept once: the guest decides how much it writes, tmpfs is memory. */
  console_bytes: 1 << 20,
  /** Device state seen: 25-130 KB; prefix: 210 KB. */
  device_state_bytes: 16 << 20,
  /** Captures whose device state was not read yet; a host holds at most a few uncommitted epochs. */
  unread_states: 8,
  prefix_bytes: 16 << 20,
  /** How far a guest's clocks move ahead at once. Its kernel calls 20 s without a sign of life a lock-up, and the last sign may be 4 s old; HPET is read across 19 s. */
  clock_jump_ms: 10_000,
  /** Stops after which the place of the timers is known, or will never be: two were always enough. */
  clock_lessons: 8,
  /** Between readings of one clock by two processes: none was seen, this is for rounding. */
  clock_slack_ms: 1,
  /** sun_path holds 108 bytes with the closing zero. */
  socket_path_bytes: 107,
  /** Translation cache of one guest under emulation; QEMU's default is up to 1 GiB each. */
  translation_cache_mib: 256,
  /** A guest smaller than this does not boot a distribution kernel; larger than this is a slip of the pen. */
  memory_mib: { min: 16, max: 1 << 20 },
  vcpus: { min: 1, max: 64 },
  nics: 8,
  disks: 8,
  /** Requests to a disk wait this long, in seconds, for their agent to come back before the guest sees an error. */
  disk_reconnect_s: 10,
  /** What virtio-blk tells of a serial number. */
  serial_bytes: 20,
  append_bytes: 2000,
} as const;
