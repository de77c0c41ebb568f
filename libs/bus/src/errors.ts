/** What a caller should do is the class; `next` says it to a person. */
export abstract class BusError extends Error {
  constructor(message: string, readonly next: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** The bus cannot be reached, or did not answer in time. Try again later. */
export class BusUnavailable extends BusError { override readonly name = 'BusUnavailable'; }

/** The bus refused: the credentials, or a subject this user has no right to. Trying again does not help. */
export class BusRefused extends BusError { override readonly name = 'BusRefused'; }

/** An old server accepts and ignores what the log's safety rests on (expected sequence, per-message options). */
export class ServerTooOld extends BusError { override readonly name = 'ServerTooOld'; }

/** A stream exists with another configuration, or the server did not take what was asked. */
export class StreamMismatch extends BusError { override readonly name = 'StreamMismatch'; }

/** Another decider was first: nothing was appended. Read the log again, then decide anew. */
export class AppendConflict extends BusError { override readonly name = 'AppendConflict'; }

/** It is not known whether the decision is in the log. Read the log again before anything else. */
export class AppendAmbiguous extends BusError { override readonly name = 'AppendAmbiguous'; }

/** The log is not the one it was: a hash does not chain, an entry is damaged, or entries that were read are gone (R14). Stop deciding. */
export class LogMismatch extends BusError { override readonly name = 'LogMismatch'; }

/** A request was answered with an error, or not at all (`unavailable`, `timeout`). Travels over the bus as such. */
export class ApiError extends BusError {
  override readonly name = 'ApiError';
  constructor(readonly code: string, message: string, next = '', options?: ErrorOptions) {
    super(message, next, options);
  }
}
