import { fold, initialState, isVoid, limits, type ClusterState } from '@virtcft/protocol';
import type { Barrier, ClusterSpec, Decision } from '@virtcft/events';
import { SimBus } from './bus.js';
import { Clock } from './clock.js';
import { SimCoordinator } from './coordinator.js';
import { SimFailover } from './failover.js';
import { pageCount, type Guest } from './guest.js';
import { SimHost } from './host.js';
import { Random } from './random.js';
import type { Rules } from './rules.js';
import { SimStore, type SimCut, type SimSegment } from './store.js';

// Taken once: in a test's own context every look-up of a global is slow.
const { imul } = Math;

export const cluster = '11111111-1111-4111-8111-111111111111';

export type Invariant = 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I6' | 'R4a' | 'R5' | 'R13' | 'R16' | 'R20' | 'R21';
export interface Violation { readonly invariant: Invariant; readonly at_ms: number; readonly detail: string }

/** A hash for the model: any two texts of a run differ in it. */
export const digest = (text: string): string => {
  let [a, b] = [0x811c9dc5, 0x01000193];
  for (let i = 0; i < text.length; i++) {
    a = imul(a ^ text.charCodeAt(i), 0x01000193);
    b = imul(b + text.charCodeAt(i), 0x85ebca6b) ^ (b >>> 13);
  }
  return `${(a >>> 0).toString(16).padStart(8, '0')}${(b >>> 0).toString(16).padStart(8, '0')}`.repeat(4);
};

/** All processes, the network and the store of one run, and an observer who sees everything and checks the invariants. */
export class World {
  readonly clock = new Clock();
  readonly random: Random;
  readonly bus: SimBus;
  readonly store: SimStore;
  readonly violations: Violation[] = [];
  readonly checks: Record<Invariant, number> = { I1: 0, I2: 0, I3: 0, I4: 0, I5: 0, I6: 0, R4a: 0, R5: 0, R13: 0, R16: 0, R20: 0, R21: 0 };
  readonly hostNames = ['h1', 'h2', 'h3', 'h4'];
  readonly hosts = new Map<string, SimHost>();
  /** Pairs of hosts whose tunnel is cut. */
  readonly cutTunnels = new Set<string>();
  coordinators: SimCoordinator[] = [];
  failover: SimFailover;
  /** What the log says, by the rules as they are meant. */
  truth: ClusterState = initialState;
  #tokens = 0;
  #seen = 0;
  #sealed = 0;
  /** `agent epoch`: who stands, or stood, at which barrier. */
  readonly #reached = new Set<string>();
  readonly #frames = new Map<number, { from: string; to: string }>();
  readonly #excused = new Set<number>();
  readonly #memories = new Map<string, readonly number[]>();
  /** What the outside has seen of each VM. */
  readonly #outside = new Map<string, Set<number>>();
  /** What each generation was called: whatever is lost, no number is used twice. */
  readonly #generations = new Map<number, string>();
  readonly #deaf_ms = new Map<string, number>();

  /** From this memory on a VM is seeded first: none, one or all of them, by the seed (R20). */
  readonly #seedFrom_mib: number;

  constructor(seed: number, readonly rules: Rules, private readonly barrier: Barrier) {
    this.random = new Random(seed);
    this.#seedFrom_mib = [1_024, 160, 128][Math.floor(seed / 3) % 3] ?? 1_024;
    this.bus = new SimBus(this.clock, this.random);
    this.store = new SimStore(this.clock, this.random);
    const observe = this.bus.decisions.push.bind(this.bus.decisions);
    this.bus.decisions.push = (...decisions) => {
      const length = observe(...decisions);
      for (const decision of decisions) this.#observe(decision);
      return length;
    };
    for (const host of this.hostNames) this.hosts.set(host, new SimHost(this, host));
    this.coordinators = [new SimCoordinator(this)];
    this.failover = new SimFailover(this);
  }

  get spec(): ClusterSpec {
    return {
      apiVersion: 'virtcft/v1', name: 'sim', hosts: this.hostNames,
      vms: ['a', 'b', 'c'].map((name, i) => ({ name, memory_mib: name === 'c' ? 160 : 128, vcpus: 1, kernel: '/k', append: '', disks: [], mac: `52:54:00:00:00:0${i}`, host: `h${i + 1}` })),
      interval_ms: 100, barrier: this.barrier, window: 2, epoch_deadline_ms: 1_000, held_output_bytes: 67_108_864, mtu: 1_500, protect: true, verify_every: 0, clock: 'stop', bases: { every: 0, bytes_per_s: 65_536, share_percent: 1 },
      policies: { data_loss: 'halt', recovery_attempts: 50, seed_from_mib: this.#seedFrom_mib, seed_mib_per_s: 64 },
    };
  }

  token(): number { return ++this.#tokens; }

  violate(invariant: Invariant, detail: string): void {
    if (this.violations.length < 50) this.violations.push({ invariant, at_ms: this.clock.now_ms, detail });
  }

  life(host: string): SimHost | undefined {
    const life = this.hosts.get(host);
    return life?.alive === true ? life : undefined;
  }

  comeBack(host: string, delay_ms: number): void {
    this.clock.at(delay_ms, () => {
      if (this.life(host) === undefined) this.hosts.set(host, new SimHost(this, host));
    });
  }

  tunnel(from: string, to: string, arrive: () => void, lost: () => void): void {
    const delay_ms = this.random.chance(0.9) ? this.random.between(0.1, 2) : this.random.chance(0.95) ? this.random.between(1, 25) : this.random.between(40, 140);
    this.clock.at(delay_ms, () => {
      if (this.cutTunnels.has(`${from} ${to}`) || this.life(to) === undefined) lost();
      else arrive();
    });
  }

  tunnelHeard(from: string, at: string): number {
    return this.life(from) === undefined || this.cutTunnels.has(`${from} ${at}`) ? 10_000 : 20;
  }

  sentTo(token: number, from: string, to: string): void { this.#frames.set(token, { from, to }); }

  /** A frame that was dropped where dropping is allowed and counted: a retransmission's business. */
  excuse(token: number): void { this.#excused.add(token); }

  /** A channel was declared down: what is under way in it may be missing from the cut (R6). */
  excuseChannel(from: string, to: string): void {
    const vms = (host: string): string[] => Object.keys(this.truth.placement).filter((vm) => this.truth.placement[vm] === host);
    const [senders, receivers] = [vms(from), vms(to)];
    for (const [token, frame] of this.#frames) if (senders.includes(frame.from) && receivers.includes(frame.to)) this.#excused.add(token);
  }

  captured(segment: SimSegment, memory: readonly number[]): void { this.#memories.set(segment.hash, memory); }

  restored(guest: Guest, segment: SimSegment, memory: readonly number[]): void {
    this.checks.I4++;
    const meant = this.#memories.get(segment.hash);
    if (meant === undefined || !same(meant, memory)) this.violate('I4', `${guest.name}: the store gives back other memory than was captured`);
    if (!same(guest.memory, memory) || guest.said.size !== segment.device.said.size) this.violate('I1', `${guest.name} runs on from another state than the cut's`);
  }

  /** The guests of a host stood still at a barrier for so long. */
  stood(host: string, waited_ms: number): void {
    this.checks.R4a++;
    if (waited_ms > limits.seal_wait_ms + 1) this.violate('R4a', `${host} stood still for ${Math.round(waited_ms)} ms`);
  }

  reached(agent: string, epoch: number): void { this.#reached.add(`${agent} ${epoch}`); }

  /** A host held a frame of a newer colour for so long before it cut: that frame was its barrier. */
  heldNewer(host: string, waited_ms: number): void {
    this.checks.R5++;
    if (waited_ms > 100) this.violate('R5', `${host} let a frame of a newer colour wait for ${Math.round(waited_ms)} ms`);
  }

  /** A frame reached the outside. */
  outside(host: SimHost, vm: string, token: number, why: string | null): void {
    this.checks.I2++;
    // A VM that no cut holds is not protected yet: what it says is lost with it (R20).
    if (this.#unheld(vm)) return;
    const seen = this.#outside.get(vm) ?? new Set();
    seen.add(token);
    this.#outside.set(vm, seen);
    this.#seen++;
    if (why === null) return;
    if (this.#covered(this.#tip(), vm, token)) return;
    const old = host.generation < this.truth.generation;
    if (old) this.checks.I3++;
    this.violate(old ? 'I3' : 'I2', `${vm} on ${host.host} (generation ${host.generation}): output left (${why}) that no committed cut covers`);
  }

  suspected(host: string, agent: string): void {
    this.checks.R21++;
    const life = this.life(host);
    if (life === undefined || life.agent !== agent || !this.bus.reachable(life.link)) return;
    const back_ms = this.#deaf_ms.get(agent) ?? Number.NEGATIVE_INFINITY;
    if (this.clock.now_ms - back_ms > 250) this.violate('R21', `${host} is alive, on the bus and was suspected`);
  }

  /** A host's link to the bus was cut or healed just now. */
  linkChanged(agent: string): void { this.#deaf_ms.set(agent, this.clock.now_ms); }

  /** The end of the log is lost; whoever read it stands still until it begins anew. */
  loseTail(count: number): void {
    this.bus.loseTail(count);
    this.truth = fold(this.bus.decisions, initialState);
    for (const name of this.hostNames) {
      this.life(name)?.die();
      this.comeBack(name, this.random.between(20, 300));
    }
    this.restartCoordinator();
    this.restartFailover();
  }

  /** The whole log is lost: whoever followed it ends, and the operator has it made anew from the store. */
  loseLog(): void {
    this.bus.loseAll();
    this.truth = initialState;
    for (const name of this.hostNames) {
      this.life(name)?.die();
      this.comeBack(name, this.random.between(20, 300));
    }
    this.restartCoordinator();
    this.restartFailover();
  }

  restartCoordinator(): void {
    for (const coordinator of this.coordinators) coordinator.crash();
    this.coordinators = [new SimCoordinator(this)];
  }

  secondCoordinator(): void { if (this.coordinators.length < 2) this.coordinators.push(new SimCoordinator(this)); }

  restartFailover(): void {
    this.failover.crash();
    this.failover = new SimFailover(this);
  }

  /** I6: some time after the last fault the cluster is protected again, or says why not. */
  checkLiveness(): void {
    this.checks.I6++;
    const { truth } = this;
    const fresh = truth.stage === 'running' && truth.protected && truth.tip?.generation === truth.generation && truth.epoch - (truth.tip?.epoch ?? 0) < 20;
    if (fresh || truth.halted !== null) return;
    const alarms = [...(this.coordinators[0]?.alarms().keys() ?? [])];
    if (!truth.protected && alarms.includes('unprotected')) return;
    this.violate('I6', `not protected and silent about it: ${truth.stage}, generation ${truth.generation}, tip ${truth.tip?.generation}-${truth.tip?.epoch}, epoch ${truth.epoch}`);
  }

  #observe(decision: Decision): void {
    const counts = !isVoid(this.truth, decision);
    this.truth = fold([decision], this.truth);
    this.checks.R13++;
    if (!counts) return this.violate('R13', `a ${decision.type} that has no place where it stands is in the log`);
    if (decision.type === 'cluster.started' || decision.type === 'generation.raised') this.#checkNumber(decision.data.generation, decision.data.incarnation);
    if (decision.type === 'epoch.sealed') this.#checkSeal(decision.data.epoch);
    if (decision.type === 'epoch.committed') this.#checkCut(decision.data.cut.key);
    if (decision.type === 'generation.raised') {
      for (const vm of this.truth.syncing) this.#beginsAnew(vm);
      this.#checkBasis(decision.data.basis.key);
    }
  }

  #checkNumber(generation: number, incarnation: string): void {
    this.checks.R16++;
    const before = this.#generations.get(generation);
    // After a log that lost its end the same raise may be read again.
    if (before !== undefined && before !== incarnation) this.violate('R16', `generation ${generation} was used before`);
    this.#generations.set(generation, incarnation);
  }

  #checkSeal(epoch: number): void {
    this.#sealed++;
    this.checks.R4a++;
    for (const { host, agent } of this.truth.open.find((open) => open.epoch === epoch)?.members ?? []) {
      if (!this.#reached.has(`${agent} ${epoch}`)) this.violate('R4a', `epoch ${epoch} was sealed before ${host} stood still`);
    }
  }

  #tip(): SimCut | null { return this.truth.tip === null ? null : this.store.cut(this.truth.tip.key); }

  /** Nobody may remember what it did: it is told of no more. */
  #beginsAnew(vm: string): void {
    this.checks.R20++;
    this.#outside.delete(vm);
    for (const [token, { from, to }] of this.#frames) if (from === vm || to === vm) this.#frames.delete(token);
  }

  #unheld(vm: string): boolean {
    const tip = this.#tip();
    return tip === null ? this.truth.syncing.includes(vm) : tip.content.vms[vm] === undefined;
  }

  #covered(cut: SimCut | null, vm: string, token: number): boolean {
    const segment = cut?.content.vms[vm]?.segment;
    return segment !== undefined && this.store.segment(segment)?.device.said.has(token) === true;
  }

  /** What the outside has seen is in the state that everything goes back to. */
  #checkBasis(key: string): void {
    const cut = this.store.cut(key);
    if (cut === null) return this.violate('I4', `the basis ${key} is not in the store`);
    for (const [vm, seen] of this.#outside) {
      this.checks.I2++;
      for (const token of seen) {
        if (this.#covered(cut, vm, token)) continue;
        this.violate('I2', `${vm}: the outside has seen output that the basis ${cut.content.generation}-${cut.content.epoch} does not know`);
        break;
      }
    }
  }

  #checkCut(key: string): void {
    const cut = this.store.cut(key);
    if (cut === null) return this.violate('I4', `cut ${key} was committed and is not in the store`);
    const name = `cut ${cut.content.generation}-${cut.content.epoch}`;
    const devices = new Map<string, SimSegment['device']>();
    for (const [vm, { segment: hash }] of Object.entries(cut.content.vms)) {
      this.checks.I5++;
      const segment = this.store.segment(hash);
      const memory = this.store.fold(cut, vm, pageCount);
      if (segment === null || memory === null) return this.violate('I4', `${name}: the chain of ${vm} has a hole`);
      const meant = this.#memories.get(hash);
      if (meant === undefined || !same(meant, memory)) this.violate('I5', `${name}: ${vm} lost a page`);
      devices.set(vm, segment.device);
    }
    const logged = new Set<number>();
    /** Channels that the cut itself says are down: `from to`, of hosts. */
    const down = new Set<string>();
    for (const { key: pack, epoch, host } of cut.content.packs) {
      if (epoch !== cut.content.epoch) continue;
      for (const { token } of this.store.pack(pack)?.frames ?? []) logged.add(token);
      for (const peer of this.store.pack(pack)?.down ?? []) down.add(`${peer} ${host}`);
    }
    const isDown = (from: string, to: string): boolean => down.has(`${cut.content.vms[from]?.host} ${cut.content.vms[to]?.host}`);
    this.checks.I1++;
    for (const [token, { from, to }] of this.#frames) {
      if (cut.content.vms[from] === undefined || cut.content.vms[to] === undefined) continue;
      const sent = devices.get(from)?.sent.has(token) === true;
      const got = devices.get(to)?.got.has(token) === true;
      if (got && !sent) this.violate('I1', `${name}: ${to} got frame ${token} that ${from} has not sent`);
      // Settled: no later cut of this lineage can be without it.
      if (sent && got) this.#frames.delete(token);
      if (!sent || got || logged.has(token) || this.#excused.has(token)) continue;
      if (isDown(from, to)) this.excuse(token);
      else this.violate('I1', `${name}: frame ${token} from ${from} to ${to} is lost: sent, not received, not in the channel state`);
    }
  }

  get sealed(): number { return this.#sealed; }
  get outsideFrames(): number { return this.#seen; }
}

const same = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((value, i) => value === b[i]);
