export { Bus } from './bus.js';
export type { BusOptions } from './connection.js';
export type { EventStore, FollowDecisions, FollowReports, Handler, LogTip, StoredDecision, StoredReport } from './event-store.js';
export type { RegisteredHost } from './hosts.js';
export type { ApiHandler } from './api.js';
export type { StreamOptions } from './streams.js';
export { Lease } from './lease.js';
export { LogChain } from './log-chain.js';
export { ApiError, AppendAmbiguous, AppendConflict, BusError, BusRefused, BusUnavailable, LogMismatch, ServerTooOld, StreamMismatch } from './errors.js';
