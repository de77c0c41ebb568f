/** Every bound of a drill, with its reason. */
export const limits = {
  /** Left to the machine beyond what the guests need: a drill must not press out what runs beside it. */
  spare_mib: 512,
  /** Of the check's output: enough for what went wrong, little enough for a report. */
  tail_bytes: 4_096,
  /** One line between the parts of a drill: a plan with a cluster file of 1000 VMs is some 3 MiB. */
  line_bytes: 16 * 1024 * 1024,
  /** Pages of 4 KiB in one section towards a guest's memory, as a replica store sends them. */
  stream_pages: 512,
  /** What is over the check's process group when its time is up: SIGTERM, and after this SIGKILL. */
  check_grace_ms: 2_000,
  /** Below everything that keeps a cluster alive on the same processors, and not so far that the guests stand still beside it. */
  nice: 5,
  /** First to go when the machine runs out of memory. */
  oom_score: 1_000,
  /** A file that somebody still holds is gone a moment later. */
  removal_retries: 10,
  /** The one interface in the drill's namespace that is not lo. */
  interface_name: 'drill0',
} as const;
