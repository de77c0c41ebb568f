import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Bus } from '@virtcft/bus';
import type { Barrier } from '@virtcft/events';
import { openStore, type ObjectStore } from '@virtcft/object-store';
import { command } from '../command.js';
import { GuestSilent } from '../guest-control.js';
import type { Load } from '../guests.js';
import { Installation } from '../installation.js';
import { Lab } from '../lab.js';
import { LabMinio } from '../minio.js';
import { OutsideClients } from '../outside-clients.js';
import { clusterFile, demoHosts, demoVms, pairVms, type DemoVm } from './cluster-file.js';
import { GuestVoice } from './guest-voice.js';
import { ClusterWatch } from './watch.js';

const CLUSTER = 'demo';
const PROCESS_MIB = 64; // of QEMU itself, beside a guest's memory, as the coordinator counts it
const ROOM_FACTOR = 2.25; // memory, its base, and layers
const CLI = join(import.meta.dirname, '..', '..', '..', '..', 'apps', 'cli', 'dist', 'main.js');
const SKEWED_HOST = demoHosts[1];
const BOOT_MS = 120_000;
const APPLY_MS = 120_000;

export interface WorldOptions {
  readonly load: Load;
  readonly interval_ms: number;
  readonly barrier: Barrier;
  readonly store: string;
  readonly verify_every: number;
  readonly vms_per_host: number;
  readonly memory_mib?: number;
  /** Two VMs on two hosts instead of the demo's. */
  readonly pair?: boolean;
  /** Between the hosts' tunnels, and how late decisions reach the last host that has VMs; a relay is used only where something is not 0. */
  readonly weather?: { readonly delay_ms: number; readonly loss_percent: number; readonly skew_ms: number };
  /** Another agent's main file, for mutants. */
  readonly agent?: string;
}

/** Everything around the cluster: machines, services, outside clients, a watcher. The cluster itself is used as an operator uses it. */
export class World {
  private constructor(
    readonly lab: Lab, readonly installation: Installation, readonly bus: Bus, readonly watch: ClusterWatch, readonly outside: OutsideClients, readonly guests: GuestVoice,
    readonly vms: readonly DemoVm[], /** How hosts find dirty pages. */ readonly tracker: string, private readonly options: WorldOptions, /** The store, where it is a server of the lab's own. */ readonly minio: LabMinio | null,
  ) {}

  /** `onLab` gets the lab as soon as there is one to close. */
  static async build(options: WorldOptions, onLab: (lab: Lab, close: () => Promise<void>) => void): Promise<World> {
    const lab = await Lab.open();
    onLab(lab, () => lab.close());
    const vms = options.pair === true ? pairVms() : demoVms(options.memory_mib, options.load.disks !== undefined);
    const hosts = options.pair === true ? demoHosts.slice(0, 2) : demoHosts;
    const largest = Math.max(...vms.map(({ memory_mib }) => memory_mib));
    const minio = options.store === 'minio' ? await LabMinio.start(lab) : null;
    const store = options.store === 'dir' ? undefined : minio?.url ?? options.store;
    const { delay_ms, loss_percent, skew_ms } = options.weather ?? { delay_ms: 0, loss_percent: 0, skew_ms: 0 };
    const relayed = delay_ms + loss_percent + skew_ms > 0;
    const installation = await Installation.start(lab, {
      ...(relayed ? { relay: { skew: skew_ms === 0 ? undefined : { host: SKEWED_HOST, delay_ms: skew_ms } } } : {}), hosts, sealed: true, memory_mib: options.vms_per_host * Math.ceil(largest * ROOM_FACTOR + PROCESS_MIB), ...(store === undefined ? {} : { store }),
      ...(minio === null ? {} : { storeUser: (service) => minio.environment(service) }), ...(options.agent === undefined ? {} : { agent: options.agent }),
    });
    await installation.relay?.setAll({ delay_ms, loss_percent });
    const bus = await Bus.connect(installation.nats.options('operator'));
    onLab(lab, async () => {
      await bus.close();
      await installation.stop();
      await minio?.stop();
      await lab.close();
    });
    await bus.awaitStreams(BOOT_MS);
    const watch = await ClusterWatch.follow(bus);
    const tracker = await trackerOf(bus, demoHosts[0]);
    const redis = vms.find(({ role }) => role === 'redis');
    if (redis === undefined) throw new Error('the demo has no redis VM');
    const database = vms.find(({ role }) => role === 'database');
    const outside = OutsideClients.start(lab, redis.address, options.load.client, {
      histories: vms.map(({ address }) => address), database: database === undefined || options.load.disks === undefined ? null : { address: database.address, load: options.load.disks },
    });
    return new World(lab, installation, bus, watch, outside, new GuestVoice(lab.site, vms), vms, tracker, options, minio);
  }

  /** What an operator does: a file, and `virtcft apply`. */
  async apply(protect: boolean): Promise<void> {
    const file = join(this.lab.dir, 'cluster.yaml');
    const { load, interval_ms, barrier, verify_every, pair } = this.options;
    writeFileSync(file, clusterFile({ name: CLUSTER, hosts: pair === true ? demoHosts.slice(0, 2) : demoHosts, vms: this.vms, load, interval_ms, barrier, verify_every, protect }));
    await this.cli('apply', '-f', file, '--wait');
    await this.watch.until('the cluster runs', APPLY_MS, () => this.watch.state.stage === 'running');
  }

  /** Until every guest answers and every bank has all its connections. */
  async booted(): Promise<void> {
    for (const until = Date.now() + BOOT_MS; ;) {
      let missing: string;
      try {
        const lone = (await this.guests.banks()).filter(({ connected, peers }) => connected < peers);
        if (lone.length === 0) return;
        missing = lone.map(({ address, connected, peers }) => `bank ${address} has ${connected} of ${peers} connections`).join(', ');
      } catch (error) {
        // Until it has booted a guest answers nobody.
        if (!(error instanceof GuestSilent)) throw error;
        missing = error.message;
      }
      if (Date.now() > until) throw new Error(`the guests are not ready after ${BOOT_MS / 1000} s: ${missing}`);
      await wait(200);
    }
  }

  /** The real command line, as the operator. */
  async cli(...words: string[]): Promise<string> {
    const { servers, user, password } = this.installation.nats.options('operator');
    const passwordFile = join(this.lab.dir, 'operator.password');
    writeFileSync(passwordFile, `${password ?? ''}\n`, { mode: 0o600 });
    return command([process.execPath, CLI, '--nats', servers, '--user', user ?? '', '--password-file', passwordFile, ...words]);
  }

  /** The object store, read from here. */
  async openStore(): Promise<ObjectStore> {
    return openStore(this.minio?.outerUrl ?? this.installation.store, { ...process.env, ...this.minio?.environment('replica-store'), ...this.installation.storeEnv });
  }

  get clusterName(): string { return CLUSTER; }
}

/** Waits for a host's offer. */
async function trackerOf(bus: Bus, host: string): Promise<string> {
  const found = new AbortController();
  const timer = setTimeout(() => { found.abort(); }, BOOT_MS);
  let tracker: string | null = null;
  await bus.followRegistrations(found.signal, ({ registration }) => {
    if (registration.host !== host) return;
    tracker = registration.tracker;
    found.abort();
  });
  clearTimeout(timer);
  if (tracker === null) throw new Error(`${host} has not registered within ${BOOT_MS / 1000} s`);
  return tracker;
}
