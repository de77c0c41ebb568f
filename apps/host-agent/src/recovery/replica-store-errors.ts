/** The replica store cannot take or give this now; try again. */
export class ReplicaStoreUnavailable extends Error {
  /** `said`: what the store answered, by itself. */
  constructor(message: string, readonly status: number | null, readonly said: string = message) { super(message); }
}
/** The replica store looked at this request and said no: trying again changes nothing. */
export class ReplicaStoreRefused extends Error {
  constructor(message: string, readonly status: number) { super(message); }
}
