import type { Decision, Report } from '@virtcft/events';
import {
  alarmsOf, decideMembership, decideReturn, decideStart, definitionOf, emptyLedger, initialState, limits, lineageOf, noteDecision, noteTip, raise,
  type Alarm, type ClusterState, type CutContent, type EpochLedger, type EpochStep, type StoredCut,
} from '@virtcft/protocol';
import type { Link } from './bus.js';
import { cluster, digest, type World } from './world.js';

/** The coordinator's shell over the real deciders: the same steps as the service takes, in virtual time. */
export class SimCoordinator {
  readonly link: Link = { name: 'coordinator', cut: false, closed: false };
  state: ClusterState = initialState;
  #ledger: EpochLedger = emptyLedger;
  #at = 0;
  #failures: Report[] = [];
  /** What an operator asks for. */
  #asked: Decision[] = [];
  #own: { raising: number; incarnation: string } | null = null;
  #raisingSince_ms = 0;
  #startAsked_ms: number | null = null;
  #writing: number | null = null;
  #written: { text: string; hash: string; key: string } | null = null;
  #stepping = false;
  #woken = false;
  readonly #heard_ms = new Map<string, number>();

  constructor(private readonly world: World) {
    const { bus, clock } = world;
    for (const decision of bus.decisions) this.#take(decision);
    for (const report of bus.reports) this.#hear(report);
    bus.followDecisions(this.link, this.#at, (decision, index) => {
      if (index === this.#at) this.#take(decision);
      this.wake();
    });
    bus.followReports(this.link, bus.reports.length, (report) => {
      this.#hear(report);
      this.wake();
    });
    bus.watchBeats(this.link, ({ agent }) => void this.#heard_ms.set(agent, clock.now_ms));
    const tick = (): void => {
      if (this.link.closed) return;
      this.wake();
      clock.at(25, tick);
    };
    tick();
  }

  alarms(): ReadonlyMap<Alarm, string> { return alarmsOf(this.state, this.#ledger, this.world.clock.now_ms); }

  wake(): void {
    if (this.#stepping) this.#woken = true;
    else void this.#run();
  }

  ask(decision: Decision): void {
    this.#asked.push(decision);
    this.wake();
  }

  crash(): void { this.link.closed = true; }

  async #run(): Promise<void> {
    this.#stepping = true;
    do {
      this.#woken = false;
      while (!this.link.closed && await this.#step());
    } while (this.#woken && !this.link.closed);
    this.#stepping = false;
  }

  #take(decision: Decision): void {
    const before = this.state;
    this.state = this.world.rules.evolve(this.state, decision);
    this.#at++;
    this.#ledger = noteDecision(this.#ledger, this.state, decision, this.world.clock.now_ms);
    if (this.state.raising !== null && this.state.raising.generation !== before.raising?.generation) this.#raisingSince_ms = this.world.clock.now_ms;
  }

  #hear(report: Report): void {
    this.#ledger = this.world.rules.noteReport(this.#ledger, this.state, report);
    if (report.type === 'host.suspected' || report.type === 'vm.failed' || report.type === 'recovery.failed') this.#failures.push(report);
  }

  /** `decidedAt`: how much of the log the decision was made on. */
  async #append(decision: Decision, decidedAt: number): Promise<boolean> {
    const { bus, clock } = this.world;
    const expected = this.world.rules.appendWhereDecided ? decidedAt : this.#at;
    if (expected !== this.#at) return false;
    const done = await bus.append(this.link, decision, expected);
    if (this.link.closed) return false;
    if (done === true && this.#at === expected) this.#take(decision);
    // Refused or unknown: read what is there before anything else.
    while (!bus.reachable(this.link) && !this.link.closed) await clock.sleep(20);
    for (const missed of bus.decisionsFrom(this.#at)) this.#take(missed);
    if (done === true && decision.type === 'generation.raising') this.#own = { raising: decision.data.generation, incarnation: this.world.random.hex(32) };
    return done === true;
  }

  /** True: something was decided, look again. */
  async #step(): Promise<boolean> {
    const { world, state } = this;
    const at = this.#at;
    const now_ms = world.clock.now_ms;
    if (state.spec === null) return this.#append(this.#first(), at);
    if (world.store.definition === null || world.store.definition.version < state.definition) world.store.definition = definitionOf(cluster, state);
    const asked = this.#asked.shift();
    if (asked !== undefined) return this.#append(asked, at).then(() => true);
    const offers = [...world.bus.registrations.values()].map((registration) => ({
      registration, alive: now_ms - (this.#heard_ms.get(registration.agent) ?? Number.NEGATIVE_INFINITY) <= limits.alive_ms,
    }));
    const membership = decideMembership(state, offers);
    if (membership !== null) return this.#append(membership, at).then(() => true);
    const failure = this.#failures[0];
    if (failure !== undefined) {
      const reaction = world.rules.reactTo(state, failure);
      if (reaction.kind === 'ignore') this.#failures.shift();
      else await this.#append(reaction.kind === 'raise' ? { type: 'generation.raising', data: reaction.data } : { type: 'host.lost', data: reaction.data }, at);
      return true;
    }
    if (state.stage === 'raising') return this.#raise(at);
    if (state.stage === 'waiting') {
      this.#startAsked_ms ??= now_ms;
      const incarnation = world.random.hex(32);
      const step = decideStart(state, incarnation, this.#startAsked_ms, now_ms);
      if (step.kind === 'wait') return false;
      await world.store.put(`generations/${step.data.generation}-${incarnation}`, { generation: { generation: step.data.generation, incarnation, basis: null } });
      return this.#append({ type: 'cluster.started', data: step.data }, at).then(() => true);
    }
    if (state.stage === 'rebuilt') {
      this.#startAsked_ms ??= now_ms;
      const step = decideReturn(state, this.#startAsked_ms, now_ms);
      return step.kind === 'wait' ? false : this.#append({ type: 'generation.raising', data: step.data }, at).then(() => true);
    }
    return this.#epoch(world.rules.decideEpochs(cluster, state, this.#ledger, now_ms, this.#writing), at);
  }

  /** A new cluster, or the one that the store knows: the log was lost. */
  #first(): Decision {
    const { random, rules, spec, store } = this.world;
    if (store.definition === null) return { type: 'cluster.created', data: { log: random.hex(32), spec } };
    const findings = {
      definition: store.definition, view: { generations: store.generations(), cuts: this.#cuts() }, seen: [], placement: {}, epoch: Math.max(0, ...this.#cuts().map(({ ref }) => ref.epoch)),
    };
    const { tip } = lineageOf(findings.view);
    const vms = Object.entries((tip === null ? null : store.cut(tip.key))?.content.vms ?? {});
    return { type: 'cluster.rebuilt', data: rules.decideRebuild({ ...findings, placement: Object.fromEntries(vms.map(([vm, { host }]) => [vm, host])) }, random.hex(32), 'an operator') };
  }

  /** Those that are complete. */
  #cuts(): StoredCut[] {
    const { store } = this.world;
    return store.cuts().filter(({ content }) => content.packs.every(({ key }) => store.pack(key) !== null))
      .map(({ content, key, hash }) => ({ ref: { key, hash, generation: content.generation, epoch: content.epoch }, incarnation: content.incarnation, previous: content.previous }));
  }

  async #raise(at: number): Promise<boolean> {
    const { world, state } = this;
    const own = this.#own !== null && this.#own.raising === state.raising?.generation ? this.#own : null;
    if (own !== null) await world.store.read();
    const cuts = own === null ? [] : this.#cuts();
    const view = { generations: own === null ? [] : world.store.generations(), cuts };
    const step = world.rules.decideRaise(state, view, own?.incarnation ?? '', own !== null, this.#raisingSince_ms, world.clock.now_ms);
    if (step.kind === 'wait') return false;
    if (step.kind === 'append') return this.#append(step.decision, at).then(() => true);
    const { generation, incarnation, basis } = step.data;
    const key = `generations/${generation}-${incarnation}`;
    const there = world.store.generations().find((record) => record.incarnation === incarnation);
    if (there !== undefined && there.basis?.hash !== basis.hash && own !== null) {
      own.incarnation = world.random.hex(32);
      return true;
    }
    await world.store.put(key, { generation: { generation, incarnation, basis } });
    if (this.link.closed) return false;
    const vms = Object.keys(world.store.cut(basis.key)?.content.vms ?? {}).sort();
    const holdsAll = Object.keys(state.placement).every((vm) => vms.includes(vm));
    return this.#append({ type: 'generation.raised', data: { ...step.data, ahead_ms: 0, ...(holdsAll ? {} : { vms }) } }, at).then(() => true);
  }

  async #epoch(step: EpochStep, at: number): Promise<boolean> {
    const { world } = this;
    switch (step.kind) {
      case 'open': return this.#append({ type: 'epoch.opened', data: step.data }, at).then(() => true);
      case 'join': return this.#append({ type: 'vm.joined', data: step.data }, at).then(() => true);
      case 'seal': return this.#append({ type: 'epoch.sealed', data: step.data }, at).then(() => true);
      case 'abort': return this.#append({ type: 'epoch.aborted', data: step.data }, at).then(() => true);
      case 'evict': return this.#append({ type: 'generation.raising', data: raise(this.state, step.cause) }, at).then(() => true);
      case 'suspend': return this.#append({ type: 'protection.disabled', data: { by: step.by.slice(0, 200) } }, at).then(() => true);
      case 'learn': {
        await world.store.read();
        const cut = world.store.cut(step.cut.key);
        if (cut === null) return false;
        this.#ledger = noteTip(this.#ledger, step.cut.hash, segments(cut.content));
        return true;
      }
      case 'commit': return this.#commit(step.content, at);
      case 'wait': return false;
    }
  }

  async #commit(content: CutContent, at: number): Promise<boolean> {
    const { world } = this;
    const text = JSON.stringify(content);
    const written = this.#written;
    const { generation, epoch, previous } = content;
    if (written !== null && written.text === text) {
      this.#written = null;
      this.#ledger = noteTip(this.#ledger, written.hash, segments(content));
      return this.#append({ type: 'epoch.committed', data: { generation, epoch, cut: { key: written.key, hash: written.hash, generation, epoch }, previous } }, at).then(() => true);
    }
    const hash = digest(text);
    const key = `cuts/${generation}-${epoch}-${hash}`;
    this.#writing = epoch;
    void world.store.put(key, { cut: { content, hash, key } }).then(async () => {
      if (this.link.closed) return;
      if (!world.rules.commitDecidesAnew) {
        this.#ledger = noteTip(this.#ledger, hash, segments(content));
        while (!this.link.closed && await world.bus.append(this.link, { type: 'epoch.committed', data: { generation, epoch, cut: { key, hash, generation, epoch }, previous } }, world.bus.decisions.length) === false);
      } else this.#written = { text, hash, key };
      this.#writing = null;
      this.wake();
    });
    return true;
  }
}

const segments = (content: CutContent): Record<string, string> => Object.fromEntries(Object.entries(content.vms).map(([vm, { segment }]) => [vm, segment]));
