import type { Guest } from './guest.js';
import type { World } from './world.js';

export interface Frame { readonly from: string; readonly to: string; readonly token: number; readonly generation: number; readonly incarnation: string; readonly colour: number; readonly host: string; readonly agent: string }
interface Marker { readonly host: string; readonly agent: string; readonly generation: number; readonly incarnation: string; readonly epoch: number; /** Frames sent through this channel so far, by colour. */ readonly sent: ReadonlyMap<number, number> }
/** A cut whose channels are not closed yet. */
export interface OpenCut { readonly epoch: number; readonly frames: { token: number; to: string }[]; readonly waiting: Set<string>; readonly down: string[] }

/** What the switch wants to know of its host, and tells it. */
export interface SwitchOwner {
  readonly world: World;
  readonly host: string;
  readonly agent: string;
  readonly alive: boolean;
  readonly guests: ReadonlyMap<string, Guest>;
  /** Guests take frames. */
  readonly running: boolean;
  /** Guests will take frames of this generation soon. */
  readonly loading: boolean;
  peers(): string[];
  placedAt(vm: string): string;
  heardColour(colour: number): void;
  channelsClosed(): void;
}

/** The coloured switch of one host, as a model (R4 to R6): colours, what is held, channel state, markers. */
export class SimSwitch {
  generation = 0;
  incarnation = '';
  colour = 0;
  /** Of a newer colour, or before the guests run. */
  #early: { frame: Frame; /** Since when it waits for the own cut; null: for the guests. */ since_ms: number | null }[] = [];
  /** While the guests stand still (R4a); null when they run. */
  #parked: Frame[] | null = null;
  #cuts: OpenCut[] = [];
  /** By peer and colour. */
  readonly #sent = new Map<string, Map<number, number>>();
  readonly #heard = new Map<string, Map<number, number>>();
  /** The newest cut for which the channel from each peer was closed: older frames are nobody's any more. */
  readonly #settled = new Map<string, number>();
  readonly #markers = new Map<string, Marker>();

  constructor(private readonly owner: SwitchOwner) {}

  wire(generation: number, incarnation: string, colour: number): void {
    Object.assign(this, { generation, incarnation, colour });
    this.#cuts = [];
    this.#parked = null;
    this.#sent.clear();
    this.#heard.clear();
    this.#markers.clear();
    this.#settled.clear();
    this.#early = this.#early.filter(({ frame }) => frame.generation === generation);
  }

  /** The guests stand still: what comes for them is held. */
  hold(): void { this.#parked ??= []; }

  send(guest: Guest, to: string): void {
    const { owner, colour, generation, incarnation } = this;
    const { world, host, agent } = owner;
    const token = world.token();
    guest.sent.add(token);
    world.sentTo(token, guest.name, to);
    const at = owner.placedAt(to);
    if (at === host) {
      owner.guests.get(to)?.got.add(token);
      return;
    }
    add(this.#sent, at, colour);
    const frame: Frame = { from: guest.name, to, token, generation, incarnation, colour, host, agent };
    world.tunnel(host, at, () => world.life(at)?.receive(frame), () => world.excuse(token));
  }

  receive(frame: Frame): void {
    const { owner, generation, incarnation } = this;
    const { world } = owner;
    const guest = owner.guests.get(frame.to);
    if (world.rules.fenceFrames && (frame.generation !== generation || frame.incarnation !== incarnation)) return;
    if (guest === undefined || !owner.running) {
      // Between two generations nothing is delivered; in the same one the sender may run a little earlier than this host.
      if (frame.generation === generation && owner.loading) this.#early.push({ frame, since_ms: null });
      else world.excuse(frame.token);
      return;
    }
    if (frame.generation === generation && frame.colour > this.colour && world.rules.holdNewer) {
      this.#early.push({ frame, since_ms: world.clock.now_ms });
      owner.heardColour(frame.colour);
      return;
    }
    this.#arrived(frame, guest);
  }

  marker(marker: Marker): void {
    if (marker.generation !== this.generation || marker.incarnation !== this.incarnation) return;
    this.#markers.set(`${marker.host} ${marker.epoch}`, marker);
    this.#closeChannels();
  }

  /** The colour becomes `epoch + 1`. The cut whose channel state is to be waited for, or null without a capture. */
  flip(epoch: number, capture: boolean): OpenCut | null {
    const { owner } = this;
    const { world, host } = owner;
    const peers = owner.peers();
    this.colour = epoch + 1;
    for (const peer of peers) this.#mark(peer, epoch);
    if (!capture) return null;
    const cut: OpenCut = { epoch, frames: [], waiting: new Set(peers), down: [] };
    // In flight on this host: sent before the cut, and taken after it.
    if (world.rules.logLate) for (const { token, to, colour } of this.#parked ?? []) if (colour <= epoch) cut.frames.push({ token, to });
    this.#cuts.push(cut);
    world.clock.at(150, () => {
      if (!this.#cuts.includes(cut)) return;
      cut.down.push(...cut.waiting);
      for (const peer of cut.waiting) {
        world.excuseChannel(peer, host);
        this.#settled.set(peer, epoch);
      }
      cut.waiting.clear();
      this.#closed(cut);
    });
    return cut;
  }

  /** The guests run: what was held goes on. */
  release(): void {
    const { guests, world } = this.owner;
    const parked = this.#parked ?? [];
    this.#parked = null;
    for (const { to, token } of parked) guests.get(to)?.got.add(token);
    for (const { frame, since_ms } of this.#early.splice(0)) {
      if (since_ms !== null) world.heldNewer(this.owner.host, world.clock.now_ms - since_ms);
      this.receive(frame);
    }
    this.#closeChannels();
  }

  #mark(peer: string, epoch: number): void {
    const { world, host, agent } = this.owner;
    const told: Marker = { host, agent, generation: this.generation, incarnation: this.incarnation, epoch, sent: new Map(this.#sent.get(peer)) };
    for (const repeat_ms of [0, 40, 100]) world.clock.at(repeat_ms, () => world.tunnel(host, peer, () => world.life(peer)?.marker(told), () => undefined));
  }

  #arrived(frame: Frame, guest: Guest): void {
    const { host, world } = this.owner;
    if (frame.generation === this.generation && frame.colour < this.colour && world.rules.logLate) {
      for (const cut of this.#cuts) {
        const covers = world.rules.logToEveryCut ? frame.colour <= cut.epoch : cut.epoch === this.colour - 1;
        if (covers) cut.frames.push({ token: frame.token, to: frame.to });
      }
    }
    if (frame.host !== host) add(this.#heard, frame.host, frame.colour);
    // A newer one is held by its colour, never by a host that stands still: without the rule it is delivered.
    if (this.#parked !== null && frame.colour <= this.colour) this.#parked.push(frame);
    else guest.got.add(frame.token);
    this.#closeChannels();
  }

  /**
   * A channel is closed when the peer's marker came and all that was sent before it, of every colour since the cut before: one that was closed
   * without a capture has frames under way as well, and they belong to this cut.
   */
  #closeChannels(): void {
    for (const cut of [...this.#cuts]) {
      for (const peer of [...cut.waiting]) {
        const marker = this.#markers.get(`${peer} ${cut.epoch}`);
        if (marker === undefined || !this.#allHeard(peer, cut.epoch, marker.sent)) continue;
        cut.waiting.delete(peer);
        this.#settled.set(peer, cut.epoch);
      }
      if (cut.waiting.size === 0) this.#closed(cut);
    }
  }

  #allHeard(peer: string, epoch: number, sent: ReadonlyMap<number, number>): boolean {
    const settled = this.#settled.get(peer) ?? -1;
    for (const [colour, count] of sent) if (colour > settled && colour <= epoch && (this.#heard.get(peer)?.get(colour) ?? 0) < count) return false;
    return true;
  }

  #closed(cut: OpenCut): void {
    this.#cuts = this.#cuts.filter((one) => one !== cut);
    this.owner.channelsClosed();
  }
}

const add = (counts: Map<string, Map<number, number>>, peer: string, colour: number): void => {
  const of = counts.get(peer) ?? new Map<number, number>();
  counts.set(peer, of.set(colour, (of.get(colour) ?? 0) + 1));
};
