import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { BusUnavailable, ClusterLog, type Bus, type LogTip, type StoredDecision, type StoredReport } from '@virtcft/bus';
import type { CutRef, Decision } from '@virtcft/events';
import { ObjectConflict, StoreError, StoreUnavailable, type ObjectStore } from '@virtcft/object-store';
import {
  alarmsOf, chooseBasis, clockAhead_ms, decideEpochs, decideMembership, decideRaise, decideReturn, decideStart, definitionOf, emptyLedger, evolve, initialState, noteDecision, noteReport, noteTip, raise, reactTo,
  type Alarm, type ClusterState, type EpochLedger, type EpochStep, type FailureReaction,
} from '@virtcft/protocol';
import { never, Steps, type Outcome } from '@virtcft/service';
import { logger, metrics, type TraceContext } from '@virtcft/telemetry';
import type { HostOffers } from '../hosts.js';
import { limits } from '../limits.js';
import { readSegments, segmentsOf, writeCut, type WrittenCut } from '../store/cut-writer.js';
import { writeDefinition } from '../store/definitions.js';
import { readStoreView, writeGeneration } from '../store/view.js';
import { alarmChanges, type AlarmReport } from './alarm-reports.js';
import { CutList } from './cut-list.js';
import { KnownDamage } from './known-damage.js';
import { ClusterTraces } from './traces.js';

export interface ClusterContext {
  readonly bus: Bus;
  readonly store: ObjectStore;
  readonly offers: HostOffers;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

const fresh = (): string => randomBytes(16).toString('hex');

/**
 * The shell around the deciders of one cluster: folds what comes, takes one step after the other, sleeps until the next is due. Only its
 * own appends and what it follows change its state, so that a step that fails is simply taken again.
 */
export class ClusterCoordinator {
  readonly log: ClusterLog<ClusterState>;
  readonly cuts = new CutList();
  readonly damage: KnownDamage;
  readonly #traces: ClusterTraces;
  readonly #log = logger('coordinator', {});
  #ledger: EpochLedger = emptyLedger;
  #alarms: ReadonlyMap<Alarm, string> = new Map();
  /** What was told of them. */
  readonly #told = new Map<Alarm, string>();
  /** Reports of failures that a step has not reacted to yet. */
  #failures: StoredReport[] = [];
  #written: WrittenCut | null = null;
  #writing: number | null = null;
  /** The raise that this process appended, and what it calls the new generation. */
  #own: { readonly raising: number; incarnation: string } | null = null;
  #raisingSince_ms = 0;
  #startAsked_ms: number | null = null;
  /** Version of the definition that this process knows to be in the store; 0 before it looked. */
  #defined = 0;
  #waitsFor: string | null = null;
  #storeFailure: string | null = null;
  readonly #steps: Steps;

  constructor(readonly cluster: string, private readonly context: ClusterContext) {
    this.#traces = new ClusterTraces(cluster);
    this.damage = new KnownDamage(context.store, cluster, (hash) => this.cuts.before(hash));
    this.log = new ClusterLog(context.bus, cluster, initialState, evolve, (stored, state, before) => this.#noted(stored, state, before));
    this.#steps = new Steps(() => this.#step(), {
      now: context.now, retry_ms: limits.retry_ms, onRest: () => this.#tellAlarms(),
      onFailure: (error) => this.#log.error({ err: error, cluster, stage: this.state.stage }, 'a step failed and is taken again'),
    });
  }

  get state(): ClusterState { return this.log.state; }
  get offers(): HostOffers { return this.context.offers; }
  /** Those that this coordinator tells, and the one that the replica store does. */
  get alarms(): ReadonlyMap<Alarm, string> {
    const { alarm } = this.damage;
    return alarm === null ? this.#alarms : new Map([...this.#alarms, ['object-damaged', alarm]]);
  }
  /** Why the cluster does not start yet. */
  get waitsFor(): string | null { return this.state.stage === 'waiting' || this.state.stage === 'rebuilt' ? this.#waitsFor : null; }

  onDecision(stored: StoredDecision): void {
    this.log.take(stored);
    this.wake();
  }

  onReport(stored: StoredReport): void {
    if (this.damage.note(stored.source, stored.report)) return;
    this.#ledger = noteReport(this.#ledger, this.state, stored.report);
    if (stored.report.type === 'host.suspected' || stored.report.type === 'vm.failed' || stored.report.type === 'recovery.failed') this.#failures.push(stored);
    this.wake();
  }

  /** Deciding begins: the log and the reports were read up to now. */
  activate(): void {
    this.#steps.activate();
    void this.#askDamage();
  }

  /** What was found before the reports that are still there. A replica store that does not answer delays nothing. */
  async #askDamage(): Promise<void> {
    while (!this.#steps.closed) {
      try {
        const { keys } = await this.context.bus.request<{ keys: string[] }>('replica-store', 'damage', { cluster: this.cluster });
        for (const key of keys) this.damage.add(key, 'found by the scrubber');
        return;
      } catch (error) {
        this.#log.debug({ err: error, cluster: this.cluster }, 'the replica store was not asked for known damage yet');
        await sleep(limits.ask_damage_ms, undefined, { ref: false });
      }
    }
  }

  wake(): void { this.#steps.wake(); }

  close(): void {
    this.#steps.close();
    this.#traces.close();
  }

  /** An operator's decision, with the state that it was decided on. Null: another was first, decide anew. */
  async append(decision: Decision, trace: TraceContext = {}, at: LogTip = this.log.tip): Promise<StoredDecision | null> {
    const stored = await this.log.append(decision, trace, at);
    if (stored !== null && decision.type === 'generation.raising') this.#own = { raising: decision.data.generation, incarnation: fresh() };
    this.wake();
    return stored;
  }

  /** One decision at most. */
  async #step(): Promise<Outcome> {
    const { state } = this;
    const at = this.log.tip;
    if (state.spec === null) return never;
    if (state.stage !== 'stopped') {
      const membership = decideMembership(state, this.context.offers.offers());
      if (membership !== null) return this.#decide(membership, at);
      const failure = this.#failures[0];
      if (failure !== undefined) return this.#react(failure, at);
    }
    if (state.definition !== this.#defined) return this.#define(state);
    if (state.stage === 'stopped') return never;
    if (state.stage === 'raising') return this.#raise(at);
    if (state.stage === 'waiting') return this.#start(at);
    if (state.stage === 'rebuilt') return this.#return(at);
    return this.#epoch(decideEpochs(this.cluster, state, this.#ledger, this.context.now(), this.#writing), at);
  }

  /** `at`: where the log ended when this was decided. It may have gone on while something was awaited; then it is decided anew. */
  async #decide(decision: Decision, at: LogTip, trace?: TraceContext): Promise<'again'> {
    const context = trace ?? (decision.type === 'generation.raising' ? this.#traces.openRecovery(decision.data.cause.kind, this.context.now()) : this.#traces.recovery());
    const stored = await this.append(decision, context, at);
    if (stored !== null) this.#log.debug({ cluster: this.cluster, type: decision.type, data: decision.data }, 'decided');
    return 'again';
  }

  async #react(failure: StoredReport, at: LogTip): Promise<'again'> {
    const reaction: FailureReaction = reactTo(this.state, failure.report);
    if (reaction.kind === 'ignore') {
      this.#log.debug({ cluster: this.cluster, type: failure.report.type, why: reaction.why }, 'a failure is not acted on');
      this.#failures.shift();
      return 'again';
    }
    this.#log.warn({ cluster: this.cluster, ...failure.report }, 'a failure was reported');
    // It stays at the head until a decision is in the log: then the same report is void and goes.
    return this.#decide(reaction.kind === 'raise' ? { type: 'generation.raising', data: reaction.data } : { type: 'host.lost', data: reaction.data }, at);
  }

  /** Nothing is started, raised or opened, so nothing can be committed, under a definition that the store does not hold (R16). */
  async #define(state: ClusterState): Promise<'again'> {
    const content = definitionOf(this.cluster, state);
    if (content !== null) await this.#within(writeDefinition(this.context.store, content));
    this.#defined = state.definition;
    return 'again';
  }

  /** The log was made anew: a recovery onto the tip, once the hosts are there. */
  async #return(at: LogTip): Promise<Outcome> {
    this.#startAsked_ms ??= this.context.now();
    const step = decideReturn(this.state, this.#startAsked_ms, this.context.now());
    if (step.kind === 'raise') return this.#decide({ type: 'generation.raising', data: step.data }, at);
    this.#waitsFor = step.waitsFor;
    return step.until_ms ?? never;
  }

  async #start(at: LogTip): Promise<Outcome> {
    this.#startAsked_ms ??= this.context.now();
    const incarnation = fresh();
    const step = decideStart(this.state, incarnation, this.#startAsked_ms, this.context.now());
    if (step.kind === 'wait') {
      this.#waitsFor = step.waitsFor;
      return step.until_ms ?? never;
    }
    await this.#within(writeGeneration(this.context.store, this.cluster, step.data.generation, incarnation, null, this.state.incarnation));
    return this.#decide({ type: 'cluster.started', data: step.data }, at);
  }

  /** Steps 2 to 4 of a raise (R16). */
  async #raise(at: LogTip): Promise<Outcome> {
    const { state, context } = this;
    const own = this.#own !== null && this.#own.raising === state.raising?.generation ? this.#own : null;
    const view = own === null ? { generations: [], cuts: [] } : await this.#within(readStoreView(context.store, this.cluster, state, this.#log));
    const basis = own === null ? null : chooseBasis(state, { ...view, generations: view.generations.filter(({ incarnation }) => incarnation !== own.incarnation) });
    const damage = basis === null ? null : await this.#within(this.damage.of(basis));
    const step = decideRaise(state, { ...view, damage }, own?.incarnation ?? '', own !== null, this.#raisingSince_ms, context.now());
    if (step.kind === 'wait') return step.until_ms;
    if (step.kind === 'append') return this.#decide(step.decision, at);
    if (own === null) return 'again';
    try {
      await this.#within(writeGeneration(context.store, this.cluster, step.data.generation, step.data.incarnation, step.data.basis, state.incarnation));
    } catch (error) {
      if (!(error instanceof ObjectConflict)) throw error;
      // The basis grew between two tries: another name, and a number above the record that is there.
      own.incarnation = fresh();
      return 'again';
    }
    const vms = await this.#within(this.#vmsIn(step.data.basis));
    return this.#decide({ type: 'generation.raised', data: { ...step.data, ...vms, ahead_ms: clockAhead_ms(state, this.cuts.barrierOf_ms(step.data.basis), Date.now()) } }, at);
  }

  /** What `generation.raised` says of the VMs that the basis holds: nothing when it holds all (R20). */
  async #vmsIn(basis: CutRef): Promise<{ vms?: string[] }> {
    const { tipSegments } = this.#ledger;
    const segments = tipSegments?.cut === basis.hash ? tipSegments.segments : await readSegments(this.context.store, basis);
    return Object.keys(this.state.placement).every((vm) => segments[vm] !== undefined) ? {} : { vms: Object.keys(segments).sort() };
  }

  async #epoch(step: EpochStep, at: LogTip): Promise<Outcome> {
    switch (step.kind) {
      case 'open':
        return this.#decide({ type: 'epoch.opened', data: step.data }, at, this.#traces.openEpoch(step.data.epoch, this.context.now()));
      case 'join':
        this.#log.info({ cluster: this.cluster, vm: step.data.vm }, 'a VM joins the cuts');
        return this.#decide({ type: 'vm.joined', data: step.data }, at);
      case 'seal':
        return this.#decide({ type: 'epoch.sealed', data: step.data }, at, this.#traces.epoch(step.data.epoch));
      case 'abort':
        this.#log.warn({ cluster: this.cluster, ...step.data }, 'epoch aborted; the next one covers it');
        return this.#decide({ type: 'epoch.aborted', data: step.data }, at, this.#traces.epoch(step.data.epoch));
      case 'evict':
        return this.#decide({ type: 'generation.raising', data: raise(this.state, step.cause) }, at);
      case 'suspend':
        this.#log.error({ cluster: this.cluster, by: step.by }, 'protection ends');
        return this.#decide({ type: 'protection.disabled', data: { by: step.by.slice(0, 200) } }, at);
      case 'learn':
        this.#ledger = noteTip(this.#ledger, step.cut.hash, await this.#within(readSegments(this.context.store, step.cut)));
        return 'again';
      case 'commit':
        return this.#commit(step.content, at);
      case 'wait':
        return step.until_ms ?? never;
    }
  }

  /** The manifest is written beside the steps, so that a slow store delays neither a barrier nor a raise. */
  async #commit(content: WrittenCut['content'], at: LogTip): Promise<Outcome> {
    const written = this.#written;
    if (written !== null && JSON.stringify(written.content) === JSON.stringify(content)) {
      this.#written = null;
      const { generation, epoch, previous } = content;
      this.#ledger = noteTip(this.#ledger, written.ref.hash, segmentsOf(content.vms));
      return this.#decide({ type: 'epoch.committed', data: { generation, epoch, cut: written.ref, previous } }, at, this.#traces.epoch(epoch));
    }
    this.#writing = content.epoch;
    const end = (): void => {
      this.#writing = null;
      this.wake();
    };
    this.#within(writeCut(this.context.store, content)).then(
      (done) => {
        this.#written = done;
        end();
      },
      (error: unknown) => {
        this.#log.error({ err: error, cluster: this.cluster, epoch: content.epoch }, 'the manifest could not be written; it is tried again');
        setTimeout(end, limits.retry_ms);
      },
    );
    return 'again';
  }

  /** A store that does not answer must not hold the steps for ever. What it does later is harmless: objects are write-once. */
  async #within<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new StoreUnavailable('unreachable', `no answer within ${limits.store_ms} ms`)), limits.store_ms);
    });
    try {
      const result = await Promise.race([work, late]);
      this.#storeFailure = null;
      return result;
    } catch (error) {
      if (error instanceof StoreError) this.#storeFailure = error.message;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #noted(stored: StoredDecision, state: ClusterState, before: ClusterState): void {
    const now_ms = this.context.now();
    this.#ledger = noteDecision(this.#ledger, state, stored.decision, now_ms);
    this.#traces.note(stored, state, now_ms);
    this.cuts.note(stored);
    if (state.raising !== null && state.raising.generation !== before.raising?.generation) this.#raisingSince_ms = now_ms;
    if (state.stage !== 'waiting' && state.stage !== 'rebuilt') this.#startAsked_ms = null;
    if (state.stage !== before.stage) this.#log.info({ cluster: this.cluster, stage: state.stage, generation: state.generation, decision: stored.decision.type }, 'stage');
  }

  /** Told from the state, so that a coordinator that starts tells what holds and a change is told once. */
  #tellAlarms(): void {
    if (this.state.spec === null) return;
    const now = new Map(alarmsOf(this.state, this.#ledger, this.context.now(), this.context.offers.storeFailure(this.state.placement)));
    if (this.#storeFailure !== null) now.set('store-unavailable', this.#storeFailure);
    const changes = alarmChanges(this.#told, now);
    this.#alarms = now;
    metrics.protectedState(this.state.protected && !now.has('no-spare') && !now.has('halted') ? 1 : 0, { cluster: this.cluster });
    for (const report of changes) this.#tell(report);
  }

  /** An alarm that the bus did not take is told again: protection must not weaken in silence (I6). */
  #tell(report: AlarmReport): void {
    const { alarm } = report.data;
    this.#log.warn({ cluster: this.cluster, ...report }, report.type);
    if (report.type === 'alarm.raised') this.#told.set(alarm, report.data.detail);
    else this.#told.delete(alarm);
    this.context.bus.report(this.cluster, 'coordinator', report).catch((error: unknown) => {
      this.#log.error({ err: error }, 'an alarm did not reach the bus');
      if (!(error instanceof BusUnavailable) || this.#steps.closed) return;
      if (report.type === 'alarm.raised') this.#told.delete(alarm);
      else this.#told.set(alarm, '');
      this.wake();
    });
  }
}
