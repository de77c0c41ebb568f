/** Every bound of the bus in one place, with its reason. */
export const limits = {
  /** 2.11 and older accept and ignore part of what the log's safety rests on. */
  minimumServer: '2.12.0',
  /** One try of a publish; it takes about 1 ms, and a try that got lost should be repeated well within an epoch's deadline. */
  publish_ms: 500,
  /** An append's tries end here; then it is ambiguous and the log is read. */
  append_ms: 2_000,
  /** Reading a whole log; a million decisions take a few seconds. */
  read_ms: 60_000,
  /** A report's tries end here; an epoch's deadline has then passed anyway. */
  report_ms: 10_000,
  /** A request without its own limit. */
  request_ms: 5_000,
  /** Sending what is under way before a close: it is milliseconds, and a server that is away must not hold a process that ends. */
  close_ms: 3_000,
  /** Calls that make or look at streams and consumers. */
  api_ms: 5_000,
  /** Between tries after an error; doubles from the first to the second. */
  retry_ms: { first: 20, most: 1_000 },
  /** Between tries to reach a server that is away. */
  reconnect_ms: 100,
  /** A server that is silent this long twice is gone: the connection is made anew. */
  ping_ms: 2_000,
  /** Events asked for ahead of the handler. */
  batch: 500,
  /** A follower's open request is renewed after this, and its server says at least so often that it is there. */
  pull_ms: 10_000,
  pull_heartbeat_ms: 1_000,
  /** A durable consumer's events in hand: those behind a failing one wait no longer than this for another reader. */
  durable_batch: 50,
  ack_wait_ms: 30_000,
  /** A follower that vanished is forgotten by the server after this. */
  follower_forgotten_ms: 60_000,
  /** A stream that was read and is not there for this long is lost: its server answers, and has begun with nothing. */
  stream_gone_ms: 5_000,
  /** Repeated publishes are recognised for this long; far above every try's end. */
  duplicate_window_ms: 120_000,
  /** Far above any decision or report. */
  event_bytes: 1_048_576,
  /** Reports serve the epochs of now and a day's questions; what a cut needs is in its manifest. */
  reports_age_ms: 86_400_000,
  reports_bytes: 1_073_741_824,
} as const;
