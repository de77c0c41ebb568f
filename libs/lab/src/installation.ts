import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Service } from '@virtcft/bus';
import type { Lab, LabHost } from './lab.js';
import type { StoreUser } from './minio.js';
import { LabNats } from './nats.js';
import { LabUnavailable } from './namespaces.js';
import type { Program } from './program.js';
import { Relay, type RelayOptions } from './relay.js';
import { MANAGEMENT, OUTSIDE } from './site.js';

const root = join(import.meta.dirname, '..', '..', '..');
const HTTP_PORT = 7780;
const TUNNEL_PORT = 4789;

export type ControlService = 'coordinator' | 'failover' | 'replica-store';
export const CONTROL_SERVICES: readonly ControlService[] = ['coordinator', 'failover', 'replica-store'];

export interface InstallationOptions {
  readonly hosts: readonly string[];
  /** Object store's URL. Default: a folder of the lab. */
  readonly store?: string;
  /** Main file of the hosts' agents instead of the product's: for agents that break a rule on purpose. */
  readonly agent?: string;
  /** What such agents are told beside that. */
  readonly agentEnv?: (host: string) => Readonly<Record<string, string>>;
  /** Before a host's agent starts, also on one that comes back. */
  readonly equip?: (host: LabHost) => Promise<void>;
  /** What each host offers to guests. */
  readonly memory_mib?: number;
  /** Beside what the lab sets, for every service: VIRTCFT_LOG, credentials of the store. */
  readonly env?: Readonly<Record<string, string>>;
  /** Objects are sealed with a key of this installation's own. */
  readonly sealed?: boolean;
  /** Beside that, for the services that have a user of their own in the store. */
  readonly storeUser?: (service: StoreUser) => Readonly<Record<string, string>>;
  /** The tunnels lead through a relay; with `skew` decisions reach one host later than the others. */
  readonly relay?: { readonly skew?: RelayOptions['skew'] } | undefined;
}

/** VirtCFT installed on a lab: bus and services in the site, an agent on each host. Every part can be stopped, killed and started again. */
export class Installation {
  private readonly programs = new Map<string, Program>();
  private constructor(readonly lab: Lab, readonly nats: LabNats, private readonly options: InstallationOptions, /** Where the tunnels lead through, when that was asked for. */ readonly relay: Relay | null) {}

  static async start(lab: Lab, options: InstallationOptions): Promise<Installation> {
    const agents = options.hosts.map((host): Service => `host-agent:${host}`);
    const nats = await LabNats.start(lab, [...CONTROL_SERVICES, 'operator', 'consumer', ...agents]);
    const relay = options.relay === undefined ? null : await Relay.start(lab, { ...options.relay, hosts: options.hosts, tunnelPort: TUNNEL_PORT, bus: nats.inside });
    const installation = new Installation(lab, nats, options, relay);
    writeFileSync(installation.secretFile, randomBytes(32), { mode: 0o600 });
    if (options.sealed) writeFileSync(installation.keysFile, `key lab ${randomBytes(32).toString('hex')}\ncurrent lab\n`, { mode: 0o600 });
    for (const service of CONTROL_SERVICES) installation.startService(service);
    for (const host of options.hosts) await installation.startHost(host);
    return installation;
  }

  /** URL of the object store, as the services have it. */
  get store(): string {
    return this.options.store ?? `file://${join(this.lab.dir, 'store')}`;
  }

  /** What the tunnels of this installation are authenticated with. */
  private get secretFile(): string { return join(this.lab.dir, 'tunnel-secret'); }

  private get keysFile(): string { return join(this.lab.dir, 'store-keys'); }

  /** What opens the store as the services do, beside its credentials. */
  get storeEnv(): Readonly<Record<string, string>> { return this.options.sealed ? { VIRTCFT_STORE_KEYS_FILE: this.keysFile } : {}; }

  startService(service: ControlService): Program {
    const dataDir = join(this.lab.dir, 'replica-store');
    mkdirSync(dataDir, { recursive: true });
    if (this.options.store === undefined) mkdirSync(join(this.lab.dir, 'store'), { recursive: true });
    const http = service === 'replica-store' ? { VIRTCFT_HTTP_ADDRESS: MANAGEMENT.site, VIRTCFT_HTTP_PORT: String(HTTP_PORT), VIRTCFT_DATA_DIR: dataDir } : {};
    return this.run(null, service, service, service, { VIRTCFT_NAME: service, VIRTCFT_STORE: this.store, ...this.storeEnv, ...http, ...(service === 'failover' ? {} : this.options.storeUser?.(service)) });
  }

  /** A new, empty host with its agent; also for a host that was killed and comes back. */
  async startHost(name: string): Promise<LabHost> {
    const host = await this.lab.startHost(name);
    await this.options.equip?.(host);
    this.startAgent(name);
    return host;
  }

  startAgent(name: string): Program {
    const host = this.lab.host(name);
    return this.run(name, `agent-${name}`, 'host-agent', `host-agent:${name}`, {
      VIRTCFT_NAME: `host-agent-${name}`, VIRTCFT_HOST: name, VIRTCFT_RUN_DIR: host.runDir, VIRTCFT_TUNNEL_ADDRESS: host.address, VIRTCFT_TUNNEL_PORT: String(TUNNEL_PORT), VIRTCFT_TUNNEL_SECRET_FILE: this.secretFile, VIRTCFT_SWAP: 'allow',
      VIRTCFT_EDGE: host.edge, VIRTCFT_REPLICA_STORE_URL: `http://${MANAGEMENT.site}:${HTTP_PORT}`,
      ...(this.options.memory_mib === undefined ? {} : { VIRTCFT_MEMORY_MIB: String(this.options.memory_mib) }), ...this.relay?.environment(name, host.address), ...this.options.agentEnv?.(name),
    });
  }

  private run(host: string | null, name: string, app: string, user: Service, env: Record<string, string>): Program {
    const main = app === 'host-agent' && this.options.agent !== undefined ? this.options.agent : join(root, 'apps', app, 'dist', 'main.js');
    if (!existsSync(main)) throw new LabUnavailable(`${main} is not built: npm run build`);
    const program = this.lab.start(host, { name, command: [process.execPath, main], env: { ...this.nats.environment(user), ...env, ...this.options.env } });
    this.programs.set(name, program);
    return program;
  }

  /** A service's or an agent's (`agent-<host>`) process. */
  program(name: string): Program {
    const program = this.programs.get(name);
    if (!program) throw new Error(`nothing called "${name}" was started here (started: ${[...this.programs.keys()].join(', ')})`);
    return program;
  }

  /** As a supervisor does: each service that has lost its log ends, and is started again. */
  async superviseServices(): Promise<void> {
    await Promise.all(CONTROL_SERVICES.map(async (service) => {
      await this.program(service).ended;
      this.startService(service);
    }));
  }

  /** Names and last words of everything that has ended though nobody asked it to. */
  fallen(): { name: string; tail: string }[] {
    return [...this.programs.values()].filter((program) => !program.running).map((program) => ({ name: program.name, tail: program.tail() }));
  }

  /** Power cut of one host. */
  async killHost(name: string): Promise<void> {
    this.programs.delete(`agent-${name}`);
    await this.lab.killHost(name);
  }

  /** Agents first, so that guests end before what they write to. */
  async stop(): Promise<void> {
    const [agents, services] = [[...this.programs.values()].filter(({ name }) => name.startsWith('agent-')), [...this.programs.values()].filter(({ name }) => !name.startsWith('agent-'))];
    await Promise.all(agents.map((program) => program.stop()));
    await Promise.all(services.map((program) => program.stop()));
    await this.nats.stop();
    this.programs.clear();
  }
}

/** Address of a cluster's n-th guest (0 first) on the outside network. */
export function guestAddress(number: number): string {
  return `${OUTSIDE.prefix}${11 + number}`;
}
