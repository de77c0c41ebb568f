import { ClusterLog, type Bus, type StoredDecision, type StoredReport } from '@virtcft/bus';
import { decideRecovery, evolve, initialState, noProgress, noteRecovery, noteStage, type ClusterState, type RecoveryProgress } from '@virtcft/protocol';
import { never, Steps, type Outcome } from '@virtcft/service';
import { logger, type TraceContext } from '@virtcft/telemetry';
import { limits } from './limits.js';

/** Drives the recoveries of one cluster: plans at once when a generation is raised, then resumes when all are loaded (R17). */
export class RecoveryDriver {
  readonly log: ClusterLog<ClusterState>;
  readonly #log = logger('failover');
  #progress: RecoveryProgress = noProgress;
  #trace: TraceContext = {};
  /** The stage whose delay was reported, so that it is told once. */
  #overdue = '';
  readonly #steps: Steps;

  constructor(readonly cluster: string, private readonly bus: Bus, private readonly now: () => number) {
    this.log = new ClusterLog(bus, cluster, initialState, evolve, (stored, state) => {
      if (stored.decision.type === 'generation.raised') this.#trace = stored.trace;
      this.#progress = noteStage(this.#progress, state, now());
    });
    this.#steps = new Steps(() => this.#step(), {
      now, retry_ms: limits.retry_ms,
      onFailure: (error) => this.#log.error({ err: error, cluster, stage: this.state.stage }, 'a step of the recovery failed and is taken again'),
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

  activate(): void { this.#steps.activate(); }

  wake(): void { this.#steps.wake(); }

  close(): void { this.#steps.close(); }

  async #step(): Promise<Outcome> {
    const step = decideRecovery(this.state, this.#progress, this.now());
    if (step.kind === 'wait') return step.until_ms ?? never;
    if (step.kind === 'append') {
      const stored = await this.log.append(step.decision, this.#trace);
      if (stored !== null) this.#log.info({ cluster: this.cluster, generation: this.state.generation, type: step.decision.type }, 'recovery');
      return 'again';
    }
    const { host, agent, stage, silent_ms } = step;
    const { generation } = this.state;
    if (this.#overdue === `${generation} ${stage}`) return never;
    await this.bus.report(this.cluster, 'failover', { type: 'host.suspected', data: { host, agent, generation, silent_ms, witnesses: [] } }, this.#trace);
    this.#overdue = `${generation} ${stage}`;
    this.#log.warn({ cluster: this.cluster, host, generation, stage, silent_ms }, 'this host holds the recovery up: it goes on without it');
    return never;
  }
}
