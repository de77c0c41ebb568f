import type { CutRef, Decision, Report } from '@virtcft/events';
import { gateOpen, limits, newAgent, vmsOn, type AgentOrder, type AgentState, type Reaction } from '@virtcft/protocol';
import { Guest, pageCount } from './guest.js';
import { SimSwitch, type Frame, type SwitchOwner } from './switch.js';
import { SimUploads, type UploadsOwner } from './uploads.js';
import type { World } from './world.js';
import type { Link } from './bus.js';

interface Held { readonly colour: number; readonly vm: string; readonly token: number }
type Colouring = Pick<SimSwitch, 'generation' | 'incarnation' | 'colour'>;

/** One life of a host: the agent's real decisions over a model of its guests, its fabric and its gate. */
export class SimHost implements SwitchOwner, UploadsOwner {
  readonly agent: string;
  readonly link: Link;
  readonly guests = new Map<string, Guest>();
  state: AgentState;
  alive = true;
  running = false;
  heldOutput: Held[] = [];
  readonly #switch: SimSwitch;
  readonly #uploads: SimUploads;
  /** The two-phase barrier at which the guests stand still (R4a). */
  #standing: { readonly epoch: number; readonly since_ms: number } | null = null;
  /** Since when it hears nothing of the bus. */
  #deafSince_ms: number | null = null;
  /** VMs of which a base is being made. */
  #seeding = new Set<string>();
  #raised = 0;
  #lane: Promise<void> = Promise.resolve();
  #sequence = 0;

  constructor(readonly world: World, readonly host: string) {
    this.agent = world.random.uuid();
    this.link = { name: host, cut: false, closed: false };
    this.state = newAgent({ host, agent: this.agent });
    this.#switch = new SimSwitch(this);
    this.#uploads = new SimUploads(this);
    world.bus.followDecisions(this.link, 0, (decision) => {
      if (!this.alive) return;
      this.#take(world.rules.react(this.state, decision));
      this.#loseAborted(decision);
    });
    void world.bus.register(this.link, {
      host, agent: this.agent, tunnel: { address: '10.77.0.2', port: 4789 }, tracker: 'pagemap-scan', memory_mib: 4_096, vcpus: 2,
      identity: { driver: 'qemu', version: '7.2', machine: 'q35', accel: 'tcg', cpu: 'max' },
    });
    this.#beat();
  }

  get generation(): number { return this.#switch.generation; }
  get colour(): number { return this.#switch.colour; }
  get loading(): boolean { return this.state.phase === 'loading'; }

  peers(): string[] { return [...new Set(Object.values(this.state.placement))].filter((host) => host !== this.host); }
  placedAt(vm: string): string { return this.state.placement[vm] ?? ''; }
  heardColour(colour: number): void { this.#take(this.world.rules.hearColour(this.state, colour)); }
  channelsClosed(): void { void this.#uploads.run(); }
  stored(epoch: number): void { if (!this.world.rules.releaseOnCommit) this.#release(epoch, 'stored'); }
  report(report: Report): Promise<void> { return this.world.bus.report(this.link, report); }

  receive(frame: Frame): void { if (this.alive) this.#switch.receive(frame); }
  marker(marker: Parameters<SimSwitch['marker']>[0]): void { if (this.alive) this.#switch.marker(marker); }

  /** The host dies with all that it holds. */
  die(): void {
    this.alive = false;
    this.running = false;
    this.link.closed = true;
  }

  /** A guest does something. */
  act(guest: Guest): void {
    if (!this.alive || !this.running || this.#standing !== null) return;
    const { random, rules } = this.world;
    guest.write(random.below(pageCount), this.world.token());
    const others = Object.keys(this.state.placement).filter((vm) => vm !== guest.name);
    if (random.chance(0.5) && others.length > 0) this.#switch.send(guest, random.pick(others));
    if (random.chance(0.3)) {
      const token = this.world.token();
      guest.said.add(token);
      if (!gateOpen(this.state)) this.heldOutput.push({ colour: rules.outputTag(this.colour), vm: guest.name, token });
      else this.world.outside(this, guest.name, token, null);
    }
    if (!rules.gateStaysClosed && !this.world.bus.reachable(this.link)) {
      this.#deafSince_ms ??= this.world.clock.now_ms;
      if (this.world.clock.now_ms - this.#deafSince_ms > 300) this.#release(Number.POSITIVE_INFINITY, 'fear');
    } else this.#deafSince_ms = null;
  }

  /** The agent's process restarts while the guests run on (R3). */
  restartAgent(): void {
    if (this.world.rules.restartIsEmpty) {
      this.die();
      this.world.comeBack(this.host, 50);
      return;
    }
    for (const guest of this.guests.values()) guest.loseTracking();
  }

  #take({ state, orders }: Reaction): void {
    this.state = state;
    for (const order of orders) this.#order(order);
  }

  #order(order: AgentOrder): void {
    const { world } = this;
    switch (order.kind) {
      case 'stop': case 'empty':
        if (order.kind === 'stop') this.#raised = order.generation;
        this.running = false;
        this.#standing = null;
        this.#uploads.giveUp();
        break;
      case 'commit':
        if (this.generation === this.state.generation) this.#release(order.epoch, 'commit');
        return;
      case 'end':
        this.die();
        world.comeBack(this.host, world.random.between(50, 400));
        return;
      // Cuts are at once, as everything of a host stands still for them; what takes time goes one after the other.
      case 'reach': return this.#reach(order.epoch);
      case 'cut': return this.#cut(order.epoch, order.vms);
      case 'flip': return this.#cut(order.epoch, null);
      case 'give-up':
        this.#cut(order.epoch, null);
        void this.report({ type: 'capture.failed', data: { ...this.#from(this.generation), epoch: order.epoch, reason: 'no seal', waited: true } });
        return;
      default:
    }
    this.#lane = this.#lane.then(() => this.#carryOut(order));
  }

  async #carryOut(order: AgentOrder): Promise<void> {
    const { world } = this;
    if (!this.alive) return;
    switch (order.kind) {
      case 'start': {
        if (order.vms.length === 0) return;
        await world.clock.sleep(world.random.between(5, 50));
        this.#wire(order.wiring);
        for (const vm of order.vms) this.#put(new Guest(vm));
        this.#uploads.restart();
        this.running = true;
        // Hosts whose VMs are in the cuts do not wait for one that only seeds: what they closed meanwhile is closed behind the start.
        if (this.state.closed >= this.colour) this.#cut(this.state.closed, null);
        return this.report({ type: 'vms.started', data: { ...this.#from(order.wiring.generation), vms: [...order.vms] } });
      }
      case 'stop':
        return this.report({ type: 'recovery.stopped', data: this.#from(order.generation) });
      case 'load': {
        if (this.#raised > order.wiring.generation) return;
        await world.clock.sleep(world.random.between(5, 60));
        await world.store.read();
        if (!this.alive || this.#raised > order.wiring.generation) return;
        this.#load(order.basis, order.vms, order.wiring);
        for (const vm of order.fresh) this.#put(new Guest(vm));
        return this.report({ type: 'recovery.loaded', data: { ...this.#from(order.wiring.generation), vms: [...order.vms, ...order.fresh] } });
      }
      case 'seed':
        this.#seeding = new Set(order.vms);
        for (const vm of order.vms) void this.#seed(vm, this.generation);
        return;
      case 'resume': {
        await world.clock.sleep(world.random.between(1, 10));
        if (!this.alive || this.#raised > order.generation || this.guests.size === 0) return;
        this.running = true;
        this.#switch.release();
        return this.report({ type: 'recovery.running', data: { ...this.#from(order.generation), vms: [...this.guests.keys()] } });
      }
      default:
    }
  }

  /** A base is made of a running guest, page by page, then once more over what was written meanwhile (R20). */
  async #seed(vm: string, generation: number): Promise<void> {
    const { world } = this;
    const guest = this.guests.get(vm);
    const wanted = (): boolean => this.alive && this.generation === generation && this.#seeding.has(vm) && guest !== undefined && this.guests.get(vm) === guest;
    for (let at = 0; at < 2 * pageCount && wanted(); at += 1) {
      await world.clock.sleep(world.random.between(5, 60));
      if (wanted()) guest?.seed(at % pageCount, world.rules.seedTracks);
    }
    while (wanted() && world.store.away) await world.clock.sleep(50);
    if (!wanted()) return;
    this.#seeding.delete(vm);
    await this.report({ type: 'vm.seeded', data: { ...this.#from(generation), vm, image: null, seed_ms: 1, seeded_bytes: 0, stored_bytes: 0, rounds: 2 } });
  }

  #load(basis: CutRef, vms: readonly string[], wiring: Colouring): void {
    const { world } = this;
    const cut = world.store.cut(basis.key);
    if (cut === null) return;
    // What the basis covers of the old output leaves, the rest is dropped (R10).
    this.#release(basis.epoch, 'basis');
    this.heldOutput = [];
    const survivors = new Map(this.guests);
    this.guests.clear();
    this.#wire(wiring);
    const stored = this.#uploads.restart();
    for (const vm of vms) {
      const hash = cut.content.vms[vm]?.segment ?? '';
      const segment = world.store.segment(hash);
      const memory = world.store.fold(cut, vm, pageCount);
      const kept = world.rules.survivorsRollBack ? undefined : survivors.get(vm);
      if (segment === null || memory === null) {
        world.violate('I4', `${vm} of cut ${basis.generation}-${basis.epoch} cannot be restored`);
        continue;
      }
      const guest = kept ?? new Guest(vm, [...memory], segment.device);
      for (const { key } of cut.content.packs) {
        if (!key.includes(`-${basis.epoch}-`)) continue;
        for (const frame of world.store.pack(key)?.frames ?? []) if (frame.to === vm) guest.got.add(frame.token);
      }
      world.restored(guest, segment, memory);
      this.#put(guest);
      this.#uploads.follow(vm, world.rules.firstParentIsBasis ? hash : stored.get(vm)?.hash ?? hash);
    }
  }

  #wire({ generation, incarnation, colour }: Colouring): void {
    this.#switch.wire(generation, incarnation, colour);
    this.#standing = null;
    this.#uploads.giveUp();
  }

  #put(guest: Guest): void {
    this.guests.set(guest.name, guest);
    const { generation } = this;
    const step = (): void => {
      if (!this.alive || this.guests.get(guest.name) !== guest || this.generation !== generation) return;
      this.act(guest);
      this.world.clock.at(this.world.random.between(10, 40), step);
    };
    this.world.clock.at(this.world.random.between(1, 20), step);
  }

  /** First phase: the guests stand still from now on, and after the time of a stop this host says so; now and then one does not stop. */
  #reach(epoch: number): void {
    const { world } = this;
    if (!this.running || epoch < this.colour) return;
    this.#standing = { epoch, since_ms: world.clock.now_ms };
    this.#switch.hold();
    world.clock.at(world.random.between(0.5, 5), () => {
      if (!this.alive || this.#standing?.epoch !== epoch) return;
      if (world.random.chance(0.01)) {
        this.#cut(epoch, null);
        void this.report({ type: 'capture.failed', data: { ...this.#from(this.generation), epoch, reason: 'a guest did not stop' } });
        return;
      }
      world.reached(this.agent, epoch);
      void this.report({ type: 'barrier.reached', data: { ...this.#from(this.generation), epoch } });
    });
    world.clock.at(limits.seal_wait_ms, () => { if (this.alive) this.#take(world.rules.sealOverdue(this.state, epoch)); });
  }

  #cut(epoch: number, vms: readonly string[] | null): void {
    if (!this.running || epoch < this.colour) return;
    const standing = this.#standing;
    this.#standing = null;
    if (standing !== null) this.world.stood(this.host, this.world.clock.now_ms - standing.since_ms);
    for (const guest of this.guests.values()) if (vms?.includes(guest.name) ?? !this.state.syncing.includes(guest.name)) guest.capture(epoch);
    const cut = this.#switch.flip(epoch, vms !== null);
    if (cut !== null) this.#uploads.add(epoch, this.generation, cut, vms ?? []);
    this.#switch.release();
  }

  /** What the mutant of R1 does: an aborted epoch's layer goes, and so does its upload. */
  #loseAborted(decision: Decision): void {
    if (decision.type !== 'epoch.aborted' || this.world.rules.abortKeepsLayer) return;
    this.#uploads.drop(decision.data.epoch);
    for (const guest of this.guests.values()) guest.dropLayer(decision.data.epoch);
  }

  #release(epoch: number, why: 'commit' | 'basis' | 'stored' | 'fear'): void {
    for (const held of this.heldOutput.filter(({ colour }) => colour <= epoch)) this.world.outside(this, held.vm, held.token, why);
    this.heldOutput = this.heldOutput.filter(({ colour }) => colour > epoch);
  }

  #from(generation: number): { host: string; agent: string; generation: number } { return { host: this.host, agent: this.agent, generation }; }

  #beat(): void {
    if (!this.alive) return;
    const peers = this.world.hostNames.filter((host) => host !== this.host).map((host) => ({ host, heard_ms: this.world.tunnelHeard(host, this.host) }));
    this.world.bus.beat(this.link, {
      host: this.host, agent: this.agent, sequence: this.#sequence++, cluster: null, generation: this.generation, colour: this.colour, lag_ms: 0,
      peers: vmsOn(this.state, this.host).length === 0 ? [] : peers, vms: [], held_output_bytes: 0,
    });
    this.world.clock.at(50, () => this.#beat());
  }
}
