import type { ClusterSpec, CutRef, Decision, DecisionData, DecisionType, HostRegistered, Report, ReportData, ReportType, SegmentRef } from '@virtcft/events';
import {
  type ClusterState, decideEpochs, emptyLedger, type EpochLedger, type EpochStep, evolve, initialState, membersOf, noteDecision, noteReport, noteTip, placedOn,
} from '../src/index.js';

/** Readable identities for tests: every value is a function of its name. */
export const hex = (name: string, length = 64): string => Buffer.from(name.padEnd(length, '.')).toString('hex').slice(0, length);
export const agentOf = (host: string, life = 1): string => `${hex(host, 8)}-0000-4000-8000-${String(life).padStart(12, '0')}`;
export const cluster = '11111111-1111-4111-8111-111111111111';
export const identity = { driver: 'qemu', version: '7.2.0', machine: 'pc-q35-7.2', accel: 'tcg', cpu: 'max' } as const;
export const cutOf = (generation: number, epoch: number, tag = ''): CutRef => ({ key: `cuts/${generation}-${epoch}${tag}`, hash: hex(`cut-${generation}-${epoch}${tag}`), generation, epoch });
export const incarnationOf = (generation: number): string => hex(`incarnation-${generation}`, 32);

export const specOf = (changes: Partial<ClusterSpec> = {}): ClusterSpec => ({
  apiVersion: 'virtcft/v1', name: 'shop', hosts: ['h1', 'h2', 'h3'],
  vms: ['a', 'b', 'c'].map((name, i) => ({
    name, memory_mib: 128, vcpus: 1, kernel: '/k', append: '', mac: `52:54:00:00:00:0${i}`, host: i < 2 ? 'h1' : 'h2',
  })),
  interval_ms: 100, barrier: 'coloured', window: 2, epoch_deadline_ms: 5_000, held_output_bytes: 67_108_864, mtu: 1_500, protect: true, verify_every: 0, clock: 'stop',
  policies: { data_loss: 'halt', recovery_attempts: 5 }, ...changes,
});

export const registrationOf = (host: string, changes: Partial<HostRegistered> = {}): HostRegistered => ({
  host, agent: agentOf(host), tunnel: { address: '10.77.0.2', port: 4789 }, identity, tracker: 'pagemap-scan', memory_mib: 2_048, vcpus: 2, ...changes,
});

export const admitted = (host: string, number: number, changes: Partial<HostRegistered> = {}): Decision => {
  const { tracker: _, ...rest } = registrationOf(host, changes);
  return { type: 'host.admitted', data: { ...rest, number } };
};

export const decision = <T extends DecisionType>(type: T, data: DecisionData<T>): Decision => ({ type, data }) as unknown as Decision;
export const report = <T extends ReportType>(type: T, data: ReportData<T>): Report => ({ type, data }) as unknown as Report;

/** A cluster of three VMs on h1 (a, b) and h2 (c), h3 spare, started. */
export const started = (spec: ClusterSpec = specOf()): Decision[] => [
  decision('cluster.created', { log: hex('log', 32), spec }),
  admitted('h1', 0), admitted('h2', 1), admitted('h3', 2),
  decision('cluster.started', { generation: 1, incarnation: incarnationOf(1), epoch: 1, placement: { a: 'h1', b: 'h1', c: 'h2' }, disks: null }),
];

export const segmentOf = (vm: string, epoch: number, parent: string | null): SegmentRef => ({
  vm, hash: hex(`${vm}-${epoch}`), parent, kind: parent === null ? 'full' : 'delta', runState: 'running', memory_bytes: 134_217_728, dirty_pages: 10, disks: [],
});

/** A coordinator without a shell: log, reports and time go in, steps come out; commits are logged with a readable cut. */
export class Story {
  state: ClusterState = initialState;
  ledger: EpochLedger = emptyLedger;
  readonly log: Decision[] = [];
  now_ms = 0;

  given(...decisions: Decision[]): this {
    for (const one of decisions) {
      this.state = evolve(this.state, one);
      this.ledger = noteDecision(this.ledger, this.state, one, this.now_ms);
      this.log.push(one);
    }
    return this;
  }

  hears(...reports: Report[]): this {
    for (const one of reports) this.ledger = noteReport(this.ledger, this.state, one);
    return this;
  }

  running(): this {
    const members = membersOf(this.state);
    return this.hears(...members.map(({ host, agent, vms }) => report('vms.started', { host, agent, generation: this.state.generation, vms })));
  }

  /** `host` stored its part of `epoch`; `parents` names another epoch or hash than the one before. */
  stores(host: string, epoch: number, parent: number | null = epoch - 1, options: { agent?: string; vms?: string[]; disks?: SegmentRef['disks'] } = {}): this {
    const vms = options.vms ?? placedOn(this.state.placement, host);
    return this.hears(report('segments.stored', {
      host, agent: options.agent ?? this.state.hosts[host]?.agent ?? agentOf(host), generation: this.state.generation, epoch,
      pack: { key: `packs/${this.state.generation}-${epoch}-${host}-${options.agent ?? ''}`, hash: hex(`pack-${epoch}-${host}`), bytes: 1_000 },
      segments: vms.map((vm) => ({ ...segmentOf(vm, epoch, parent === null || parent < 1 ? null : hex(`${vm}-${parent}`)), disks: options.disks ?? [] })),
      channels: { frames: 0, down: [] }, pauses: [], verified: { checks: 0, differing: 0 }, nics: [],
    }));
  }

  /** `hosts` stand still at the two-phase barrier of `epoch`. */
  reach(epoch: number, ...hosts: string[]): this {
    return this.hears(...hosts.map((host) => report('barrier.reached', { host, agent: this.state.hosts[host]?.agent ?? agentOf(host), generation: this.state.generation, epoch })));
  }

  /** `host` could not capture `epoch`, or (`waited`) stood for a seal that did not come in time. */
  fails(host: string, epoch: number, waited = false): this {
    return this.hears(report('capture.failed', {
      host, agent: this.state.hosts[host]?.agent ?? agentOf(host), generation: this.state.generation, epoch, reason: waited ? 'no seal' : 'a VM did not stop', ...(waited ? { waited } : {}),
    }));
  }

  at(now_ms: number): this {
    this.now_ms = now_ms;
    return this;
  }

  step(): EpochStep {
    return decideEpochs(cluster, this.state, this.ledger, this.now_ms);
  }

  /** Takes steps until it must wait; returns what was done, as short words. */
  run(limit = 20): string[] {
    const done: string[] = [];
    for (let i = 0; i < limit; i++) {
      const step = this.step();
      if (step.kind === 'wait') return done;
      done.push(this.take(step));
      if (step.kind === 'evict' || step.kind === 'learn') return done;
    }
    return done;
  }

  private take(step: Exclude<EpochStep, { kind: 'wait' }>): string {
    switch (step.kind) {
      case 'open':
        this.given({ type: 'epoch.opened', data: step.data });
        return `open ${step.data.epoch}`;
      case 'join':
        this.given({ type: 'vm.joined', data: step.data });
        return `join ${step.data.vm}`;
      case 'seal':
        this.given({ type: 'epoch.sealed', data: step.data });
        return `seal ${step.data.epoch}`;
      case 'abort':
        this.given({ type: 'epoch.aborted', data: step.data });
        return `abort ${step.data.epoch} (${step.data.missing.join(',')})`;
      case 'commit': {
        const { generation, epoch, previous, vms } = step.content;
        const cut = cutOf(generation, epoch);
        this.ledger = noteTip(this.ledger, cut.hash, Object.fromEntries(Object.entries(vms).map(([vm, { segment }]) => [vm, segment])));
        this.given(decision('epoch.committed', { generation, epoch, cut, previous }));
        return `commit ${epoch}`;
      }
      case 'suspend':
        this.given({ type: 'protection.disabled', data: { by: step.by } });
        return 'suspend';
      default:
        return step.kind;
    }
  }
}
