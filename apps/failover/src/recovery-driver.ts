import { ClusterLog, type Bus, type StoredDecision, type StoredReport } from '@virtcft/bus';
import { decideRecovery, evolve, initialState, noProgress, noteRecovery, noteStage, type ClusterState, type RecoveryProgress } from '@virtcft/protocol';
import { logger, type TraceContext } from '@virtcft/telemetry';
import { limits } from './limits.js';

/** Drives the recoveries of one cluster: plans at once when a generation is raised, then resumes when all are loaded (R17). */
export class RecoveryDriver {
  readonly log: ClusterLog<ClusterState>;
  readonly #log = logger('failover');
  #progress: RecoveryProgress = noProgress;
  #timer: NodeJS.Timeout | null = null;
  #trace: TraceContext = {};
  /** The stage whose delay was reported, so that it is told once. */
  #overdue = '';
  #stepping = false;
  #woken = false;
  #active = false;
  #closed = false;

  constructor(readonly cluster: string, private readonly bus: Bus, private readonly now: () => number) {
    this.log = new ClusterLog(bus, cluster, initialState, evolve, (stored, state) => {
      if (stored.decision.type === 'generation.raised') this.#trace = stored.trace;
      this.#progress = noteStage(this.#progress, state, now());
    });
  }

  get state(): ClusterState { return this.log.state; }

  onDecision(stored: StoredDecision): void {
    this.log.take(stored);
    this.wake();
  }

  onReport({ report }: StoredReport): void {
    this.#progress = noteRecovery(this.#progress, report);
    this.wake();
  }

  activate(): void {
    this.#active = true;
    this.wake();
  }

  wake(): void {
    if (this.#stepping) this.#woken = true;
    else void this.#run();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  async #run(): Promise<void> {
    this.#stepping = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    let next_ms: number | null = null;
    try {
      do {
        this.#woken = false;
        next_ms = await this.#steps();
      } while (this.#woken && !this.#closed);
    } catch (error) {
      this.#log.error({ err: error, cluster: this.cluster, stage: this.state.stage }, 'a step of the recovery failed and is taken again');
      next_ms = this.now() + limits.retry_ms;
    }
    this.#stepping = false;
    if (this.#closed) return;
    if (this.#woken) setImmediate(() => this.wake());
    else if (next_ms !== null) this.#timer = setTimeout(() => this.wake(), Math.max(0, next_ms - this.now()));
  }

  /** Until there is nothing to do before the returned time. */
  async #steps(): Promise<number | null> {
    while (this.#active && !this.#closed) {
      const step = decideRecovery(this.state, this.#progress, this.now());
      if (step.kind === 'wait') return step.until_ms;
      if (step.kind === 'append') {
        const stored = await this.log.append(step.decision, this.#trace);
        if (stored !== null) this.#log.info({ cluster: this.cluster, generation: this.state.generation, type: step.decision.type }, 'recovery');
        continue;
      }
      const { host, agent, stage, silent_ms } = step;
      const { generation } = this.state;
      if (this.#overdue === `${generation} ${stage}`) return null;
      await this.bus.report(this.cluster, 'failover', { type: 'host.suspected', data: { host, agent, generation, silent_ms, witnesses: [] } }, this.#trace);
      this.#overdue = `${generation} ${stage}`;
      this.#log.warn({ cluster: this.cluster, host, generation, stage, silent_ms }, 'this host holds the recovery up: it goes on without it');
      return null;
    }
    return null;
  }
}
