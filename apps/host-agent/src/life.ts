import { randomUUID } from 'node:crypto';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { BusUnavailable, type Bus, type StoredDecision } from '@virtcft/bus';
import type { ClusterSpec, Report } from '@virtcft/events';
import type { Fabric, openFabric } from '@virtcft/fabric';
import type { HypervisorDriver } from '@virtcft/hypervisor';
import { hearColour, newAgent, react, sealOverdue, type AgentOrder, type AgentState, type Reaction } from '@virtcft/protocol';
import { logger, metrics, type TraceContext } from '@virtcft/telemetry';
import { ClusterOnHost } from './cluster-on-host.js';
import type { AgentConfiguration } from './configuration.js';
import type { OpenDisk } from '@virtcft/disk';
import { DisksOnHost } from './disks/disks-on-host.js';
import { HeldVms } from './held-vms.js';
import { limits } from './limits.js';
import { Heartbeats, type HeartbeatContent } from './membership/heartbeat.js';
import { SeenGeneration } from './membership/seen-generation.js';
import { OutputGate } from './output/gate.js';
import { pause } from './pause.js';
import { Attachments } from './recovery/attachments.js';
import { ReplicaClient } from './recovery/replica-client.js';

const log = logger('host-agent');
/** Runs also while the machine sleeps, so that no lease outlives a sleep (R10). */
const sinceBoot_ms = (): number => uptime() * 1000;

/** The cluster this life serves: one per agent. */
interface Membership {
  readonly cluster: string;
  readonly fabric: Fabric;
  readonly gate: OutputGate;
  readonly part: ClusterOnHost;
}

/**
 * One life of the agent: from an empty host that registers itself until the cluster goes on without it, or the process ends. What another
 * life left behind was swept before (R3: a restarted agent's guests count as lost).
 */
export class AgentLife {
  readonly agent = randomUUID();
  readonly over: Promise<string>;
  private readonly states = new Map<string, AgentState>();
  private membership: Membership | null = null;
  private readonly heartbeats: Heartbeats;
  private readonly replicas: ReplicaClient;
  private readonly disks: DisksOnHost;
  private readonly seen: SeenGeneration;
  private readonly stopping = new AbortController();
  private end: (reason: string) => void = () => undefined;

  constructor(private readonly configuration: AgentConfiguration, private readonly secret: Buffer, private readonly bus: Bus, private readonly driver: HypervisorDriver, private readonly open: typeof openFabric, openDisk?: OpenDisk) {
    this.over = new Promise((resolve) => { this.end = resolve; });
    this.seen = new SeenGeneration(configuration.VIRTCFT_RUN_DIR);
    this.replicas = new ReplicaClient(configuration.VIRTCFT_REPLICA_STORE_URL);
    this.disks = new DisksOnHost({ directory: configuration.VIRTCFT_DISK_DIR ?? join(configuration.VIRTCFT_RUN_DIR, 'disks'), sockets: join(configuration.VIRTCFT_RUN_DIR, 'nbd'), replicas: this.replicas, log, ...(openDisk === undefined ? {} : { open: openDisk }) });
    this.heartbeats = new Heartbeats({ host: this.host, agent: this.agent }, sinceBoot_ms, () => this.heartbeat(), (heartbeat) => bus.heartbeat(heartbeat));
  }

  get host(): string { return this.configuration.VIRTCFT_HOST; }

  /** Offers this host; the coordinator answers with `host.admitted`. */
  async begin(): Promise<void> {
    await this.disks.sweep();
    void this.bus.watchHeartbeats(this.stopping.signal, (heartbeat) => {
      const sent_ms = heartbeat.agent === this.agent ? this.heartbeats.sentAt(heartbeat.sequence) : null;
      if (sent_ms !== null) this.membership?.gate.heartbeatEchoed(sent_ms);
    }, this.host);
    await this.bus.register({
      host: this.host, agent: this.agent, tunnel: { address: this.configuration.VIRTCFT_TUNNEL_ADDRESS, port: this.configuration.VIRTCFT_TUNNEL_PORT },
      identity: this.driver.identity, tracker: this.driver.tracker, memory_mib: this.configuration.VIRTCFT_MEMORY_MIB, vcpus: this.configuration.VIRTCFT_VCPUS,
      ...(this.seen.highest === null ? {} : { seen: this.seen.highest }),
    });
    log.info({ host: this.host, agent: this.agent, tracker: this.driver.tracker }, 'registered, empty');
  }

  onDecision({ cluster, decision, trace }: StoredDecision): void {
    const before = this.states.get(cluster) ?? newAgent({ host: this.host, agent: this.agent });
    const { state, orders } = react(before, decision);
    this.states.set(cluster, state);
    if (state.member) this.seen.note(cluster, decision);
    for (const order of orders) this.carryOut(cluster, order, trace);
  }

  async close(): Promise<void> {
    this.heartbeats.stop();
    this.stopping.abort();
    await this.membership?.part.close();
    this.membership?.fabric.close();
    this.replicas.close();
  }

  private carryOut(cluster: string, order: AgentOrder, trace: TraceContext): void {
    if (order.kind === 'end') return this.end(order.reason);
    if (order.kind === 'join') {
      if (this.membership === null) this.membership = this.join(cluster, order.number);
      else if (this.membership.cluster !== cluster) log.error({ cluster }, 'this host serves another cluster already; one cluster per agent');
      return;
    }
    if (this.membership?.cluster !== cluster) return;
    this.membership.part.carryOut(order, trace).catch((error: unknown) => {
      log.error({ err: error, order: order.kind }, 'an order failed: this life of the host ends, so that the cluster recovers elsewhere');
      this.end(`${order.kind} failed: ${error instanceof Error ? error.message : String(error)}`);
    });
  }

  private join(cluster: string, number: number): Membership {
    const { configuration, driver, replicas, disks, host, agent } = this;
    const state = (): AgentState => this.states.get(cluster) ?? newAgent({ host, agent });
    const report = (content: Report, trace: TraceContext = {}): void => {
      void this.tell(cluster, content, trace);
    };
    const held_output_bytes = state().spec?.held_output_bytes ?? 67_108_864;
    let full = false;
    const fabric = this.open({
      cluster: cluster.replaceAll('-', ''), host: number, life: agent, secret: this.secret, tunnel: { address: configuration.VIRTCFT_TUNNEL_BIND ?? configuration.VIRTCFT_TUNNEL_ADDRESS, port: configuration.VIRTCFT_TUNNEL_PORT },
      edge: configuration.VIRTCFT_EDGE ?? null, mtu: state().spec?.mtu ?? limits.mtu, heldOutputBytes: held_output_bytes, heldOutputAge_ms: limits.held_output_age_ms, portQueueFrames: limits.port_queue_frames,
    }, (events) => {
      for (const event of events) {
        if (event.kind === 'newer-colour') this.reactTo(cluster, (state) => hearColour(state, event.colour));
        else if (event.kind === 'output-bound') {
          log.info({ state: event.state }, 'held output passed a step');
          if (full === (event.state === 'full')) continue;
          full = !full;
          report(full ? { type: 'alarm.raised', data: { alarm: 'output-bound', detail: `host ${host} holds ${held_output_bytes} bytes of output, or some for ${limits.held_output_age_ms} ms: its guests are held back` } } : { type: 'alarm.cleared', data: { alarm: 'output-bound' } });
        } else log.debug(event, 'a frame of another generation was dropped');
      }
    });
    const gate = new OutputGate(fabric, sinceBoot_ms);
    const spec = (): ClusterSpec => {
      const known = state().spec;
      if (known === null) throw new Error('the cluster has no definition');
      return known;
    };
    const held = new HeldVms(spec, new Attachments(fabric, join(configuration.VIRTCFT_RUN_DIR, 'nics')));
    const hostNames = (): Map<number, string> => new Map(Object.entries(state().hosts).map(([name, admitted]) => [admitted.number, name]));
    const part = new ClusterOnHost({ cluster, name: host, from: { host, agent }, identity: driver.identity, driver, fabric, replicas, held, disks, log, spec, hostNames, sealOverdue: (epoch) => this.reactTo(cluster, (state) => sealOverdue(state, epoch)), report }, gate);
    log.info({ cluster, number }, 'admitted');
    void this.prepare(held, spec());
    return { cluster, fabric, gate, part };
  }

  /** A report that got lost would leave the cluster waiting for it: told until the bus takes it, or this life ends. Deciders take one twice as once. */
  private async tell(cluster: string, content: Report, trace: TraceContext): Promise<void> {
    while (!this.stopping.signal.aborted) {
      try {
        return await this.bus.report(cluster, this.host, content, trace);
      } catch (error) {
        log.error({ err: error, type: content.type }, 'a report did not reach the bus');
        if (!(error instanceof BusUnavailable)) return;
        await pause(limits.report_retry_ms, this.stopping.signal);
      }
    }
  }

  /** What a load of each VM will need is made ready now, not in the middle of a recovery. */
  private async prepare(held: HeldVms, spec: ClusterSpec): Promise<void> {
    for (const { name } of spec.vms) {
      // How the devices are laid out does not depend on what a disk holds.
      const shape = held.definitionOf(name).disks.map((disk) => ({ name: disk.name, bytes: 4096, socket: '/' }));
      await this.driver.prepare(held.specOf(name, shape)).catch((error: unknown) => log.warn({ err: error, vm: name }, 'this VM could not be prepared here; a recovery onto this host would be slow or fail'));
    }
  }

  /** What this host notices by itself, as the decider takes it. */
  private reactTo(cluster: string, noticed: (state: AgentState) => Reaction): void {
    const before = this.states.get(cluster);
    if (before === undefined) return;
    const { state, orders } = noticed(before);
    this.states.set(cluster, state);
    for (const order of orders) this.carryOut(cluster, order, {});
  }

  private heartbeat(): HeartbeatContent {
    const { membership } = this;
    if (membership === null) return { cluster: null, generation: 0, colour: 0, peers: [], vms: [], held_output_bytes: 0 };
    const stats = membership.fabric.stats();
    const hosts = new Map(Object.entries(this.states.get(membership.cluster)?.hosts ?? {}).map(([name, host]) => [host.number, name]));
    metrics.heldOutput(stats.heldOutputBytes, { cluster: membership.cluster, host: this.host });
    const vms = membership.part.vmStates;
    metrics.drifting(vms.filter(({ drifting }) => drifting === true).length, { cluster: membership.cluster, host: this.host });
    return {
      cluster: membership.cluster, generation: membership.part.generation, colour: stats.colour, held_output_bytes: stats.heldOutputBytes,
      peers: stats.peers.flatMap(({ host, heard_ms }) => { const name = hosts.get(host); return name === undefined ? [] : [{ host: name, heard_ms: Math.round(heard_ms) }]; }),
      vms, ...(membership.part.storeFailure === null ? {} : { store_failure: membership.part.storeFailure.slice(0, limits.told_failure_chars) }),
    };
  }
}
