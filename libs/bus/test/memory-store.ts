import { randomUUID } from 'node:crypto';
import { decodeDecision, decodeReport, encodeDecision, encodeReport, type Decision, type Envelope, type Report } from '@virtcft/events';
import type { TraceContext } from '@virtcft/telemetry';
import { AppendConflict, LogChain, type EventStore, type FollowDecisions, type FollowReports, type Handler, type LogTip, type StoredDecision, type StoredReport } from '../src/index.js';

interface Entry { readonly sequence: number; readonly cluster: string; readonly source: string; readonly envelope: Envelope }

const reader = (envelope: Envelope) => (name: string): string => envelope.headers[name] ?? '';
const bytes = (envelope: Envelope): Uint8Array => new TextEncoder().encode(envelope.payload);

const since = (log: readonly Entry[], time: Date): number => log.filter((entry) => reader(entry.envelope)('ce-time') < time.toISOString()).length + 1;

/** The event store in memory, for tests of what stands on it. Through the same envelopes, so it refuses what the bus refuses. */
export class MemoryStore implements EventStore {
  readonly #decisions: Entry[] = [];
  readonly #reports: Entry[] = [];
  readonly #waiting = new Set<() => void>();

  async append(cluster: string, decision: Decision, at: LogTip, trace: TraceContext = {}): Promise<StoredDecision> {
    const envelope = encodeDecision(cluster, decision, at.previous, { id: randomUUID(), source: 'memory', time: new Date(), trace });
    const tip = this.#decisions.findLast((entry) => entry.cluster === cluster)?.sequence ?? 0;
    if (tip !== at.expected) throw new AppendConflict(`the log of ${cluster} ends at ${tip}, not ${at.expected}`, 'read the log again and decide anew');
    return stored(this.#push(this.#decisions, cluster, 'memory', envelope));
  }

  async readDecisions(cluster: string): Promise<StoredDecision[]> {
    return this.#decisions.filter((entry) => entry.cluster === cluster).map(stored);
  }

  followDecisions(options: FollowDecisions, handler: Handler<StoredDecision>): Promise<void> {
    const from = options.from instanceof Date ? since(this.#decisions, options.from) : Math.max(options.from ?? 1, 1);
    const chain = new LogChain(from === 1);
    return this.#follow(this.#decisions, from, options, (entry) => {
      const decision = stored(entry);
      chain.accept(decision);
      return handler(decision);
    });
  }

  async report(cluster: string, source: string, report: Report, trace: TraceContext = {}): Promise<void> {
    this.#push(this.#reports, cluster, source, encodeReport(cluster, report, { id: randomUUID(), source, time: new Date(), trace }));
  }

  followReports(options: FollowReports, handler: Handler<StoredReport>): Promise<void> {
    const from = options.from instanceof Date ? since(this.#reports, options.from)
      : options.from === 'all' ? 1 : options.from === 'new' ? this.#reports.length + 1 : options.from;
    return this.#follow(this.#reports, from, options, ({ cluster, sequence, envelope }) => handler({ cluster, sequence, ...decodeReport(reader(envelope), bytes(envelope)) }));
  }

  #push(log: Entry[], cluster: string, source: string, envelope: Envelope): Entry {
    const entry = { sequence: log.length + 1, cluster, source, envelope };
    log.push(entry);
    for (const wake of [...this.#waiting]) wake();
    return entry;
  }

  async #follow(log: readonly Entry[], from: number, options: { cluster?: string; signal: AbortSignal; caughtUp?: () => void }, handle: (entry: Entry) => Promise<void> | void): Promise<void> {
    const { cluster, signal, caughtUp } = options;
    const end = log.length;
    let next = from - 1;
    for (let told = false; !signal.aborted;) {
      while (next < log.length && !signal.aborted) {
        const entry = log[next++];
        if (entry && (cluster === undefined || entry.cluster === cluster)) await handle(entry);
        if (!told && next >= end) { told = true; caughtUp?.(); }
      }
      if (!told) { told = true; caughtUp?.(); }
      if (!signal.aborted) await this.#more(signal);
    }
  }

  #more(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => { this.#waiting.delete(wake); signal.removeEventListener('abort', wake); resolve(); };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake);
    });
  }
}

function stored({ cluster, sequence, envelope }: Entry): StoredDecision {
  const { id, time, hash, previous, decision, trace } = decodeDecision(reader(envelope), bytes(envelope));
  return { cluster, sequence, id, time, hash, previous, decision, trace };
}
