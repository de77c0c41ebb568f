import type { Decision, Report } from '@virtcft/events';
import {
  decideRecovery, disconnected, initialState, newDetector, noProgress, noteRecovery, noteStage, suspicions, watch, watchedLives, limits,
  type ClusterState, type Detector, type RecoveryProgress,
} from '@virtcft/protocol';
import type { Link } from './bus.js';
import type { World } from './world.js';

/** The failover's shell over the real deciders. */
export class SimFailover {
  readonly link: Link = { name: 'failover', cut: false, closed: false };
  state: ClusterState = initialState;
  #progress: RecoveryProgress = noProgress;
  #detector: Detector = newDetector;
  #at = 0;
  #stepping = false;
  #woken = false;
  #overdue = '';
  readonly #me: string;
  readonly #told_ms = new Map<string, number>();

  constructor(private readonly world: World) {
    const { bus, clock } = world;
    this.#me = world.random.uuid();
    for (const decision of bus.decisions) this.#take(decision);
    for (const report of bus.reports) this.#progress = noteRecovery(this.#progress, report);
    bus.followDecisions(this.link, this.#at, (decision, index) => {
      if (index === this.#at) this.#take(decision);
      this.wake();
    });
    bus.followReports(this.link, bus.reports.length, (report) => {
      this.#progress = noteRecovery(this.#progress, report);
      this.wake();
    });
    bus.watchBeats(this.link, (beat) => {
      if (beat.agent === this.#me) {
        this.#detector = world.rules.loopback(this.#detector, clock.now_ms);
        this.#suspect();
      } else this.#detector = world.rules.heard(this.#detector, beat);
    });
    this.#tick(0);
  }

  crash(): void { this.link.closed = true; }

  wake(): void {
    if (this.#stepping) this.#woken = true;
    else void this.#run();
  }

  #tick(sequence: number): void {
    if (this.link.closed) return;
    const { bus, clock } = this.world;
    // The client notices a lost connection.
    if (!bus.reachable(this.link)) this.#detector = disconnected(this.#detector);
    bus.beat(this.link, { host: 'failover', agent: this.#me, sequence, cluster: null, generation: 0, colour: 0, lag_ms: 0, peers: [], vms: [], held_output_bytes: 0 });
    this.wake();
    clock.at(limits.watcher_beat_ms, () => this.#tick(sequence + 1));
  }

  #take(decision: Decision): void {
    this.state = this.world.rules.evolve(this.state, decision);
    this.#at++;
    this.#progress = noteStage(this.#progress, this.state, this.world.clock.now_ms);
    this.#detector = watch(this.#detector, watchedLives(this.state));
  }

  #suspect(): void {
    const { bus, clock } = this.world;
    for (const { host, agent, silent_ms, witnesses } of suspicions(this.#detector, 0)) {
      if (clock.now_ms - (this.#told_ms.get(agent) ?? Number.NEGATIVE_INFINITY) < 500) continue;
      this.#told_ms.set(agent, clock.now_ms);
      this.world.suspected(host, agent);
      const report: Report = { type: 'host.suspected', data: { host, agent, generation: Math.max(1, this.state.generation), silent_ms, witnesses: [...witnesses] } };
      void bus.report(this.link, report);
    }
  }

  async #run(): Promise<void> {
    this.#stepping = true;
    do {
      this.#woken = false;
      while (!this.link.closed && await this.#step());
    } while (this.#woken && !this.link.closed);
    this.#stepping = false;
  }

  async #step(): Promise<boolean> {
    const { bus, clock } = this.world;
    const step = decideRecovery(this.state, this.#progress, clock.now_ms);
    if (step.kind === 'wait') return false;
    if (step.kind === 'overdue') {
      const { host, agent, stage, silent_ms } = step;
      const { generation } = this.state;
      if (this.#overdue === `${generation} ${stage}`) return false;
      this.#overdue = `${generation} ${stage}`;
      await bus.report(this.link, { type: 'host.suspected', data: { host, agent, generation, silent_ms, witnesses: [] } });
      return false;
    }
    const expected = this.#at;
    const done = await bus.append(this.link, step.decision, expected);
    if (this.link.closed) return false;
    if (done === true && this.#at === expected) this.#take(step.decision);
    while (!bus.reachable(this.link) && !this.link.closed) await clock.sleep(20);
    for (const missed of bus.decisionsFrom(this.#at)) this.#take(missed);
    return true;
  }
}
