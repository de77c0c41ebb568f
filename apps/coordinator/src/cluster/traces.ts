import type { StoredDecision } from '@virtcft/bus';
import type { ClusterState } from '@virtcft/protocol';
import { metrics, startSpan, type OpenSpan, type TraceContext } from '@virtcft/telemetry';

/** One trace per epoch and one per recovery, begun where they are decided; their context travels in the decisions' headers. */
export class ClusterTraces {
  readonly #epochs = new Map<number, { span: OpenSpan; opened_ms: number }>();
  #recovery: { span: OpenSpan; raised_ms: number; kind: string } | null = null;
  #lastCommit: TraceContext = {};
  #lastOpened_ms: number | null = null;

  constructor(private readonly cluster: string) {}

  /** Before the barrier is appended. */
  openEpoch(epoch: number, now_ms: number): TraceContext {
    const span = startSpan('epoch', { root: true, attributes: { 'virtcft.cluster': this.cluster, 'virtcft.epoch': epoch } });
    this.#epochs.set(epoch, { span, opened_ms: now_ms });
    return span.trace;
  }

  epoch(epoch: number): TraceContext {
    return this.#epochs.get(epoch)?.span.trace ?? {};
  }

  /** Before a raise is appended; a raise upon a raise stays in one trace. */
  openRecovery(kind: string, now_ms: number): TraceContext {
    this.#recovery ??= {
      span: startSpan('recovery', { root: true, links: [this.#lastCommit], attributes: { 'virtcft.cluster': this.cluster, 'virtcft.cause': kind } }), raised_ms: now_ms, kind,
    };
    return this.#recovery.span.trace;
  }

  recovery(): TraceContext {
    return this.#recovery?.span.trace ?? {};
  }

  /** After a decision is in the log, whoever wrote it. */
  note({ decision }: StoredDecision, state: ClusterState, now_ms: number): void {
    const cluster = this.cluster;
    switch (decision.type) {
      case 'epoch.opened':
        if (this.#lastOpened_ms !== null) metrics.epochDuration((now_ms - this.#lastOpened_ms) / 1_000, { cluster });
        this.#lastOpened_ms = now_ms;
        break;
      case 'epoch.committed': case 'epoch.aborted':
        metrics.epochs(1, { cluster, outcome: decision.type === 'epoch.committed' ? 'committed' : 'aborted' });
        if (decision.type === 'epoch.committed') this.#lastCommit = this.epoch(decision.data.epoch);
        this.#end(decision.data.epoch, decision.type === 'epoch.aborted' ? decision.data.reason : undefined);
        break;
      case 'generation.raising': case 'cluster.stopped': case 'protection.disabled':
        for (const epoch of [...this.#epochs.keys()]) this.#end(epoch, decision.type);
        this.#lastOpened_ms = null;
        break;
      case 'recovery.completed':
        metrics.recoveries(1, { cluster, cause: state.cause?.kind ?? 'unknown' });
        if (this.#recovery !== null) metrics.recoveryDuration((now_ms - this.#recovery.raised_ms) / 1_000, { cluster });
        this.#recovery?.span.end();
        this.#recovery = null;
        break;
      case 'cluster.halted':
        this.#recovery?.span.end(new Error(decision.data.detail));
        this.#recovery = null;
        break;
      default:
    }
    const oldest = state.open[0];
    const opened_ms = oldest === undefined ? undefined : this.#epochs.get(oldest.epoch)?.opened_ms;
    metrics.oldestUncommitted(opened_ms === undefined ? null : (now_ms - opened_ms) / 1_000, { cluster });
  }

  close(): void {
    for (const epoch of [...this.#epochs.keys()]) this.#end(epoch, 'the coordinator stopped');
    this.#recovery?.span.end();
    this.#recovery = null;
  }

  #end(epoch: number, failure?: string): void {
    this.#epochs.get(epoch)?.span.end(failure === undefined ? undefined : new Error(failure));
    this.#epochs.delete(epoch);
  }
}
