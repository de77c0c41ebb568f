import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bus } from '@virtcft/bus';
import { packKey, parseManifest } from '@virtcft/checkpoint';
import type { ClusterSpec, Decision, HostRegistered, Report } from '@virtcft/events';
import { openDirectoryStore, type ObjectStore } from '@virtcft/object-store';
import { newAgent, react, type AgentOrder, type AgentState } from '@virtcft/protocol';
import { TestServer } from '../../../libs/bus/test/nats-server.js';

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

export const specOf = (changes: Partial<ClusterSpec> = {}): ClusterSpec => ({
  apiVersion: 'virtcft/v1', name: 'shop', hosts: ['h1', 'h2', 'h3'],
  vms: ['a', 'b', 'c'].map((name, i) => ({ name, memory_mib: 128, vcpus: 1, kernel: '/k', append: '', mac: `52:54:00:00:00:0${i}`, host: i < 2 ? 'h1' : 'h2' })),
  interval_ms: 50, barrier: 'coloured', window: 2, epoch_deadline_ms: 1_000, held_output_bytes: 67_108_864, mtu: 1_500, protect: true, verify_every: 0, clock: 'stop',
  policies: { data_loss: 'halt', recovery_attempts: 3 }, ...changes,
});

/** A real nats-server and a folder as the store, for one test file. */
export class Ground {
  readonly #closing: (() => Promise<void> | void)[] = [];
  private constructor(readonly server: TestServer, readonly store: ObjectStore, readonly folder: string) {}

  static async open(): Promise<Ground> {
    const folder = await mkdtemp(join(tmpdir(), 'virtcft-deciders-'));
    return new Ground(await TestServer.start(), await openDirectoryStore({ path: folder }), folder);
  }

  async bus(name: string): Promise<Bus> {
    const bus = await Bus.connect({ servers: this.server.url, name });
    this.onClose(() => bus.close());
    return bus;
  }

  onClose(end: () => Promise<void> | void): void { this.#closing.unshift(end); }

  async close(): Promise<void> {
    for (const end of this.#closing) await end();
    await this.store.close();
    await this.server.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** An agent's voice on the bus: real decisions and reports, real objects in the store, no guests. */
export class VoiceOfAgent {
  readonly agent = randomUUID();
  readonly orders: AgentOrder[] = [];
  readonly decisions: Decision[] = [];
  /** What it does not do, for a test. */
  mute: { reaches?: boolean; stores?: boolean; loads?: boolean; seeds?: boolean; beats?: boolean } = {};
  ended: string | null = null;
  #state: AgentState;
  #cluster = '';
  readonly #parents = new Map<string, string>();
  readonly #signal = new AbortController();
  #beat: NodeJS.Timeout | null = null;
  #sequence = 0;

  constructor(readonly host: string, private readonly bus: Bus, private readonly store: ObjectStore, private readonly peers: () => VoiceOfAgent[], private readonly memory_mib = 2_048) {
    this.#state = newAgent({ host, agent: this.agent });
  }

  get alive(): boolean { return !this.#signal.signal.aborted; }

  /** `seen`: what an earlier life of this host knew. */
  async begin(seen?: HostRegistered['seen']): Promise<this> {
    void this.bus.followDecisions({ signal: this.#signal.signal }, async ({ cluster, decision }) => {
      this.decisions.push(decision);
      const { state, orders } = react(this.#state, decision);
      this.#state = state;
      this.#cluster = cluster;
      for (const order of orders) await this.#carryOut(order);
    });
    this.#beat = setInterval(() => { if (!this.mute.beats) this.beat(); }, 50);
    this.beat();
    await this.bus.register({
      host: this.host, agent: this.agent, tunnel: { address: '127.0.0.1', port: 4789 }, tracker: 'pagemap-scan', memory_mib: this.memory_mib, vcpus: 2,
      identity: { driver: 'qemu', version: '7.2.0', machine: 'pc-q35-7.2', accel: 'tcg', cpu: 'max' },
      ...(seen === undefined ? {} : { seen }),
    });
    return this;
  }

  beat(): void {
    const peers = this.peers().filter((peer) => peer !== this).map((peer) => ({ host: peer.host, heard_ms: peer.alive ? 10 : 1_000 }));
    this.bus.heartbeat({ host: this.host, agent: this.agent, sequence: this.#sequence++, cluster: null, generation: 0, colour: 0, lag_ms: 0, peers, vms: [], held_output_bytes: 0 });
  }

  kill(): void {
    this.#signal.abort();
    if (this.#beat !== null) clearInterval(this.#beat);
  }

  /** Of it, by another: also when it is dead. */
  sayAnyway(report: Report, bus: Bus): Promise<void> { return bus.report(this.#cluster, 'failover', report); }

  async say(report: Report): Promise<void> {
    if (this.alive) await this.bus.report(this.#cluster, this.host, report);
  }

  get #from() { return { host: this.host, agent: this.agent, generation: this.#state.generation }; }

  get vms(): string[] { return Object.keys(this.#state.placement).filter((vm) => this.#state.placement[vm] === this.host); }

  async #carryOut(order: AgentOrder): Promise<void> {
    this.orders.push(order);
    switch (order.kind) {
      case 'start':
        if (this.vms.length > 0) await this.say({ type: 'vms.started', data: { ...this.#from, vms: this.vms } });
        return;
      case 'reach':
        if (!this.mute.reaches) await this.say({ type: 'barrier.reached', data: { ...this.#from, epoch: order.epoch } });
        return;
      case 'cut':
        if (!this.mute.stores) await this.#capture(order.epoch, order.vms);
        return;
      case 'load': {
        await this.say({ type: 'recovery.stopped', data: this.#from });
        if (this.mute.loads) return;
        const { vms } = parseManifest(await this.store.get(order.basis.key), order.basis.hash);
        for (const vm of order.vms) this.#parents.set(vm, vms[vm]?.segment ?? '');
        for (const vm of order.fresh) this.#parents.delete(vm);
        return this.say({ type: 'recovery.loaded', data: { ...this.#from, vms: this.vms } });
      }
      case 'seed':
        if (this.mute.seeds) return;
        for (const vm of order.vms) await this.say({ type: 'vm.seeded', data: { ...this.#from, vm, image: sha256(Buffer.from(vm)), seed_ms: 1, seeded_bytes: 1, stored_bytes: 1, rounds: 2 } });
        return;
      case 'resume':
        return this.say({ type: 'recovery.running', data: { ...this.#from, vms: this.vms } });
      case 'end':
        this.ended = order.reason;
        this.kill();
        return;
      default:
    }
  }

  async #capture(epoch: number, captured: readonly string[]): Promise<void> {
    const segments = captured.map((vm) => {
      const parent = this.#parents.get(vm) ?? null;
      const hash = sha256(randomBytes(32));
      this.#parents.set(vm, hash);
      return { vm, hash, parent, kind: parent === null ? 'full' as const : 'delta' as const, runState: 'running' as const, memory_bytes: 134_217_728, dirty_pages: 1, disks: [] };
    });
    const body = Buffer.from(JSON.stringify(segments));
    const hash = sha256(body);
    const key = packKey({ cluster: this.#cluster, generation: this.#state.generation, epoch, host: this.host, hash });
    await this.store.put(key, body);
    await this.say({
      type: 'segments.stored',
      data: { ...this.#from, epoch, pack: { key, hash, bytes: body.length }, segments, channels: { frames: 0, down: [] }, pauses: [], verified: { checks: 0, differing: 0 }, nics: [] },
    });
  }
}

/** Waits for a condition; the test's own time limit ends it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}
