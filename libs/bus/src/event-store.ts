import type { Decision, Report } from '@virtcft/events';
import type { TraceContext } from '@virtcft/telemetry';

export interface StoredDecision {
  readonly cluster: string;
  /** Of the stream, shared by all clusters: rises, with gaps between two decisions of one cluster. */
  readonly sequence: number;
  readonly id: string;
  readonly time: Date;
  readonly hash: string;
  readonly previous: string | null;
  readonly decision: Decision;
  readonly trace: TraceContext;
}

export interface StoredReport {
  readonly cluster: string;
  readonly sequence: number;
  readonly source: string;
  readonly id: string;
  readonly time: Date;
  readonly report: Report;
  readonly trace: TraceContext;
}

/** Where the caller believes the cluster's log ends: the last decision's sequence and hash; 0 and null before the first. */
export interface LogTip { readonly expected: number; readonly previous: string | null }

export interface FollowDecisions {
  /** Omitted: all clusters. */
  readonly cluster?: string;
  /** Stream sequence of the first decision wanted, or the time since when; default the beginning. */
  readonly from?: number | Date;
  readonly signal: AbortSignal;
  /** Once, when the replay has handled what was stored at the start. */
  readonly caughtUp?: () => void;
}

export interface FollowReports {
  readonly cluster?: string;
  /** A date: what was stored since then; for a decider that starts and needs the reports since a decision. */
  readonly from: 'new' | 'all' | number | Date;
  readonly signal: AbortSignal;
  readonly caughtUp?: () => void;
}

export interface ConsumeOptions {
  /** Names the consumer for ever: letters, digits, - and _. */
  readonly durable: string;
  readonly cluster?: string;
  readonly signal: AbortSignal;
}

export type Handler<T> = (item: T) => Promise<void> | void;

/** The part of the bus that remembers. A follow ends when its signal is aborted; a handler that throws ends it with that error. */
export interface EventStore {
  append(cluster: string, decision: Decision, at: LogTip, trace?: TraceContext): Promise<StoredDecision>;
  readDecisions(cluster: string): Promise<StoredDecision[]>;
  followDecisions(options: FollowDecisions, handler: Handler<StoredDecision>): Promise<void>;
  report(cluster: string, source: string, report: Report, trace?: TraceContext): Promise<void>;
  followReports(options: FollowReports, handler: Handler<StoredReport>): Promise<void>;
}
