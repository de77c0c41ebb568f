import type { CutRef, Report } from '@virtcft/events';
import { newAgent, vmsOn, type AgentOrder, type AgentState } from '@virtcft/protocol';
import { Guest, pageCount } from './guest.js';
import type { SimSegment } from './store.js';
import type { World } from './world.js';
import type { Link } from './bus.js';

export interface Frame { readonly from: string; readonly to: string; readonly token: number; readonly generation: number; readonly incarnation: string; readonly colour: number; readonly host: string; readonly agent: string }
interface Marker { readonly host: string; readonly agent: string; readonly generation: number; readonly incarnation: string; /** Colours from this one to `epoch` are counted: a cut may close several. */ readonly first: number; readonly epoch: number; readonly count: number }
interface Held { readonly colour: number; readonly vm: string; readonly token: number }
/** A cut whose channels are not closed yet. */
interface OpenCut { readonly epoch: number; readonly frames: { token: number; to: string }[]; readonly waiting: Set<string>; readonly down: string[] }

/** One life of a host: the agent's real decisions over a model of its guests, its fabric and its gate. */
export class SimHost {
  readonly agent: string;
  readonly link: Link;
  readonly guests = new Map<string, Guest>();
  state: AgentState;
  alive = true;
  generation = 0;
  incarnation = '';
  colour = 0;
  running = false;
  heldOutput: Held[] = [];
  /** Since when it hears nothing of the bus. */
  #deafSince_ms: number | null = null;
  #raised = 0;
  #early: Frame[] = [];
  #cuts: OpenCut[] = [];
  #sent = new Map<string, number>();
  #heard = new Map<string, number>();
  #markers = new Map<string, Marker>();
  #uploads: { epoch: number; generation: number; segments: readonly string[]; cut: OpenCut }[] = [];
  #uploading = false;
  #stored = new Map<string, { epoch: number | null; hash: string }>();
  #lane: Promise<void> = Promise.resolve();
  #sequence = 0;

  constructor(readonly world: World, readonly host: string) {
    this.agent = world.random.uuid();
    this.link = { name: host, cut: false, closed: false };
    this.state = newAgent({ host, agent: this.agent });
    world.bus.followDecisions(this.link, 0, (decision) => {
      if (!this.alive) return;
      const { state, orders } = world.rules.react(this.state, decision);
      this.state = state;
      for (const order of orders) this.#order(order);
    });
    void world.bus.register(this.link, {
      host, agent: this.agent, tunnel: { address: '10.77.0.2', port: 4789 }, tracker: 'pagemap-scan', memory_mib: 4_096, vcpus: 2,
      identity: { driver: 'qemu', version: '7.2', machine: 'q35', accel: 'tcg', cpu: 'max' },
    });
    this.#beat();
  }

  /** The host dies with all that it holds. */
  die(): void {
    this.alive = false;
    this.running = false;
    this.link.closed = true;
  }

  /** A guest does something. */
  act(guest: Guest): void {
    if (!this.alive || !this.running) return;
    const { random } = this.world;
    guest.write(random.below(pageCount), this.world.token());
    if (random.chance(0.5)) this.#send(guest);
    if (random.chance(0.3)) {
      const token = this.world.token();
      guest.said.add(token);
      if (this.state.protected) this.heldOutput.push({ colour: this.world.rules.outputTag(this.colour), vm: guest.name, token });
      else this.world.outside(this, guest.name, token, null);
    }
    if (!this.world.rules.gateStaysClosed && !this.world.bus.reachable(this.link)) {
      this.#deafSince_ms ??= this.world.clock.now_ms;
      if (this.world.clock.now_ms - this.#deafSince_ms > 300) this.#release(Number.POSITIVE_INFINITY, 'fear');
    } else this.#deafSince_ms = null;
  }

  receive(frame: Frame): void {
    if (!this.alive) return;
    const guest = this.guests.get(frame.to);
    if (this.world.rules.fenceFrames && (frame.generation !== this.generation || frame.incarnation !== this.incarnation)) return;
    if (guest === undefined || !this.running) {
      // Between two generations nothing is delivered; in the same one the sender may run a little earlier than this host.
      if (frame.generation === this.generation && this.state.phase === 'loading') this.#early.push(frame);
      else this.world.excuse(frame.token);
      return;
    }
    if (frame.colour > this.colour && frame.generation === this.generation && this.world.rules.holdNewer) {
      this.#early.push(frame);
      const { state, orders } = this.world.rules.hearColour(this.state, frame.colour);
      this.state = state;
      for (const order of orders) this.#order(order);
      return;
    }
    this.#deliver(frame, guest);
  }

  marker(marker: Marker): void {
    if (!this.alive || marker.generation !== this.generation || marker.incarnation !== this.incarnation) return;
    this.#markers.set(`${marker.host} ${marker.epoch}`, marker);
    this.#closeChannels();
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

  #deliver(frame: Frame, guest: Guest): void {
    if (frame.generation === this.generation && frame.colour < this.colour) {
      for (const cut of this.#cuts) {
        const covers = this.world.rules.logToEveryCut ? frame.colour <= cut.epoch : cut.epoch === this.colour - 1;
        if (covers) cut.frames.push({ token: frame.token, to: frame.to });
      }
    }
    if (frame.host !== this.host) {
      const key = `${frame.host} ${frame.colour}`;
      this.#heard.set(key, (this.#heard.get(key) ?? 0) + 1);
    }
    guest.got.add(frame.token);
    this.#closeChannels();
  }

  #send(guest: Guest): void {
    const { world } = this;
    const others = Object.keys(this.state.placement).filter((vm) => vm !== guest.name);
    if (others.length === 0) return;
    const to = world.random.pick(others);
    const host = this.state.placement[to] ?? '';
    const token = world.token();
    guest.sent.add(token);
    world.sentTo(token, guest.name, to);
    const frame: Frame = { from: guest.name, to, token, generation: this.generation, incarnation: this.incarnation, colour: this.colour, host: this.host, agent: this.agent };
    if (host === this.host) {
      this.guests.get(to)?.got.add(token);
      return;
    }
    const key = `${host} ${this.colour}`;
    this.#sent.set(key, (this.#sent.get(key) ?? 0) + 1);
    world.tunnel(this.host, host, () => world.life(host)?.receive(frame), () => world.excuse(token));
  }

  #order(order: AgentOrder): void {
    if (order.kind === 'stop') {
      this.#raised = order.generation;
      this.running = false;
      this.#uploads = [];
    }
    if (order.kind === 'commit') {
      if (this.generation === this.state.generation) this.#release(order.epoch, 'commit');
      return;
    }
    if (order.kind === 'end') {
      this.die();
      this.world.comeBack(this.host, this.world.random.between(50, 400));
      return;
    }
    // Cuts are at once, as everything of a host stands still for them; what takes time goes one after the other.
    if (order.kind === 'cut' || order.kind === 'flip') {
      this.#cut(order.epoch, order.kind === 'cut');
      return;
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
        this.#wire(order.wiring.generation, order.wiring.incarnation, order.wiring.colour);
        for (const vm of order.vms) this.#put(new Guest(vm));
        this.#stored = new Map();
        this.running = true;
        return this.#report({ type: 'vms.started', data: { ...this.#from(order.wiring.generation), vms: [...order.vms] } });
      }
      case 'stop':
        return this.#report({ type: 'recovery.stopped', data: this.#from(order.generation) });
      case 'load': {
        if (this.#raised > order.wiring.generation) return;
        await world.clock.sleep(world.random.between(5, 60));
        await world.store.read();
        if (!this.alive || this.#raised > order.wiring.generation) return;
        this.#load(order.basis, order.vms, order.wiring.generation, order.wiring.incarnation, order.wiring.colour);
        return this.#report({ type: 'recovery.loaded', data: { ...this.#from(order.wiring.generation), vms: [...order.vms] } });
      }
      case 'resume': {
        await world.clock.sleep(world.random.between(1, 10));
        if (!this.alive || this.#raised > order.generation || this.guests.size === 0) return;
        this.running = true;
        for (const frame of this.#early.splice(0)) this.receive(frame);
        return this.#report({ type: 'recovery.running', data: { ...this.#from(order.generation), vms: [...this.guests.keys()] } });
      }
      default:
    }
  }

  #load(basis: CutRef, vms: readonly string[], generation: number, incarnation: string, colour: number): void {
    const { world } = this;
    const cut = world.store.cut(basis.key);
    if (cut === null) return;
    // What the basis covers of the old output leaves, the rest is dropped (R10).
    this.#release(basis.epoch, 'basis');
    this.heldOutput = [];
    const survivors = new Map(this.guests);
    this.guests.clear();
    this.#wire(generation, incarnation, colour);
    const stored = this.#stored;
    this.#stored = new Map();
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
      const last = stored.get(vm);
      this.#stored.set(vm, world.rules.firstParentIsBasis || last === undefined ? { epoch: null, hash } : { epoch: null, hash: last.hash });
    }
  }

  #wire(generation: number, incarnation: string, colour: number): void {
    Object.assign(this, { generation, incarnation, colour });
    this.#cuts = [];
    this.#uploads = [];
    this.#sent.clear();
    this.#heard.clear();
    this.#markers.clear();
    this.#early = this.#early.filter((frame) => frame.generation === generation);
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

  #cut(epoch: number, capture: boolean): void {
    if (!this.running || epoch < this.colour) return;
    const closing = this.colour;
    this.colour = epoch + 1;
    const peers = [...new Set(Object.values(this.state.placement))].filter((host) => host !== this.host);
    const cut: OpenCut = { epoch, frames: [], waiting: new Set(peers), down: [] };
    for (const guest of this.guests.values()) guest.capture(epoch);
    for (const peer of peers) {
      let count = 0;
      for (let colour = closing; colour <= epoch; colour++) count += this.#sent.get(`${peer} ${colour}`) ?? 0;
      const told: Marker = { host: this.host, agent: this.agent, generation: this.generation, incarnation: this.incarnation, first: closing, epoch, count };
      for (const repeat_ms of [0, 40, 100]) this.world.clock.at(repeat_ms, () => this.world.tunnel(this.host, peer, () => this.world.life(peer)?.marker(told), () => undefined));
    }
    if (capture) {
      this.#cuts.push(cut);
      this.world.clock.at(150, () => this.#giveUp(cut));
      this.#uploads.push({ epoch, generation: this.generation, segments: [...this.guests.keys()], cut });
    }
    for (const frame of this.#early.splice(0)) this.receive(frame);
    this.#closeChannels();
  }

  /** A channel is closed when the peer's marker came and all that it counted. */
  #closeChannels(): void {
    for (const cut of [...this.#cuts]) {
      for (const peer of [...cut.waiting]) {
        // A frame of an older colour can still be under way while an older cut waits for it: it belongs to this cut too.
        if (this.#cuts.some((older) => older.epoch < cut.epoch && older.waiting.has(peer))) continue;
        const marker = this.#markers.get(`${peer} ${cut.epoch}`);
        if (marker === undefined) continue;
        let heard = 0;
        for (let colour = marker.first; colour <= marker.epoch; colour++) heard += this.#heard.get(`${peer} ${colour}`) ?? 0;
        if (heard >= marker.count) cut.waiting.delete(peer);
      }
      if (cut.waiting.size === 0) this.#closed(cut);
    }
  }

  #giveUp(cut: OpenCut): void {
    if (!this.#cuts.includes(cut)) return;
    cut.down.push(...cut.waiting);
    for (const peer of cut.waiting) this.world.excuseChannel(peer, this.host);
    cut.waiting.clear();
    this.#closed(cut);
  }

  #closed(cut: OpenCut): void {
    this.#cuts = this.#cuts.filter((one) => one !== cut);
    void this.#upload();
  }

  /** One after the other: the parent is the last segment stored (R2a). */
  async #upload(): Promise<void> {
    if (this.#uploading) return;
    this.#uploading = true;
    const { world } = this;
    for (let next = this.#uploads[0]; this.alive && next !== undefined && next.cut.waiting.size === 0; next = this.#uploads[0]) {
      const { epoch, generation, cut } = next;
      const encoded: SimSegment[] = next.segments.flatMap((vm) => {
        const guest = this.guests.get(vm);
        if (guest === undefined) return [];
        const parent = this.#stored.get(vm) ?? null;
        const { pages, memory, device } = guest.encode(parent === null ? null : (parent.epoch ?? 0), epoch);
        const segment: SimSegment = { hash: world.random.hex(64), vm, parent: parent?.hash ?? null, kind: parent === null ? 'full' : 'delta', pages, device };
        world.captured(segment, memory);
        return [segment];
      });
      const key = `packs/${generation}-${epoch}-${this.host}-${world.random.hex(8)}`;
      await world.store.put(key, { pack: { segments: encoded, frames: cut.frames, down: cut.down } });
      if (!this.alive) break;
      if (this.#uploads[0] !== next) continue;
      this.#uploads.shift();
      for (const segment of encoded) {
        this.#stored.set(segment.vm, { epoch, hash: segment.hash });
        this.guests.get(segment.vm)?.forget(epoch);
      }
      if (!world.rules.releaseOnCommit) this.#release(epoch, 'stored');
      await this.#report({
        type: 'segments.stored',
        data: {
          ...this.#from(generation), epoch, pack: { key, hash: world.random.hex(64), bytes: 1 },
          segments: encoded.map(({ hash, vm, parent, kind }) => ({ vm, hash, parent, kind, runState: 'running', memory_bytes: 4_096, dirty_pages: 1, disks: [] })),
          channels: { frames: cut.frames.length, down: cut.down }, pauses: [], verified: { checks: 0, differing: 0 }, nics: [],
        },
      });
    }
    this.#uploading = false;
  }

  #release(epoch: number, why: 'commit' | 'basis' | 'stored' | 'fear'): void {
    for (const held of this.heldOutput.filter(({ colour }) => colour <= epoch)) this.world.outside(this, held.vm, held.token, why);
    this.heldOutput = this.heldOutput.filter(({ colour }) => colour > epoch);
  }

  #from(generation: number): { host: string; agent: string; generation: number } { return { host: this.host, agent: this.agent, generation }; }

  #report(report: Report): Promise<void> { return this.world.bus.report(this.link, report); }

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

