import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { command, ip } from './command.js';
import { labFolder, sweepLabFolders } from './folders.js';
import { LabUnavailable, Namespaces } from './namespaces.js';
import { Program, type ProgramOptions } from './program.js';
import { MANAGEMENT, Site } from './site.js';

/** Frames between hosts carry a guest's whole frame and a header: they must fit without fragments. */
const MANAGEMENT_MTU = 9_000;
const FIRST_HOST_ADDRESS = 11;

export interface LabHost {
  readonly name: string;
  /** On the management network. */
  readonly address: string;
  /** Interface on the outside network; has no address of its own. */
  readonly edge: 'out0';
  /** Own tmpfs of the host; the same path on each. */
  readonly runDir: '/run/virtcft';
  readonly machine: Namespaces;
  /** Counts the lives of this name: 1, and 1 more for each rejoin. */
  readonly life: number;
}

export interface LabOptions {
  /** Logs and the like; made when missing. Default: a new folder in the system's temporary one, removed at close. */
  readonly dir?: string;
}

/** A few machines on one computer, from namespaces: hosts that can be killed whole, two networks, and a site for services and outside clients. */
export class Lab {
  private readonly hosts = new Map<string, LabHost>();
  private readonly numbers = new Map<string, number>();
  private constructor(readonly site: Site, readonly dir: string, private readonly ownDir: boolean) {}

  static async open(options: LabOptions = {}): Promise<Lab> {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) throw new LabUnavailable('the lab makes namespaces: run this as root on Linux');
    await sweepLabFolders();
    const dir = options.dir ?? labFolder();
    mkdirSync(dir, { recursive: true });
    return new Lab(await Site.create(dir), dir, options.dir === undefined);
  }

  /** Living hosts by name. */
  host(name: string): LabHost {
    const host = this.hosts.get(name);
    if (!host) throw new Error(`no host "${name}" is up in this lab (up: ${[...this.hosts.keys()].join(', ') || 'none'})`);
    return host;
  }

  /** Address on the management network of the n-th host that was started here (0 first), also before it is. */
  addressOf(number: number): string { return `${MANAGEMENT.prefix}${FIRST_HOST_ADDRESS + number}`; }

  /** An empty host, connected to both networks. A name that was killed before comes back with nothing but its name and address. */
  async startHost(name: string): Promise<LabHost> {
    if (this.hosts.has(name)) throw new Error(`host "${name}" is up already`);
    const number = this.numbers.get(name) ?? this.numbers.size;
    const life = (this.lives.get(name) ?? 0) + 1;
    this.numbers.set(name, number);
    this.lives.set(name, life);
    const machine = await Namespaces.create(name);
    const address = this.addressOf(number);
    try {
      await this.connect(machine, number, address);
    } catch (error) {
      await machine.kill();
      throw error;
    }
    const host: LabHost = { name, address, edge: 'out0', runDir: '/run/virtcft', machine, life };
    this.hosts.set(name, host);
    return host;
  }

  private readonly lives = new Map<string, number>();

  private async connect(machine: Namespaces, number: number, address: string): Promise<void> {
    const inSite = ['nsenter', `--target=${this.site.machine.initPid}`, '--net', '--'];
    // Only the site's network is entered here, so that process ids mean the same as outside.
    await command([...inSite, 'sh', '-ec', [
      `ip link add m${number} mtu ${MANAGEMENT_MTU} type veth peer name mgmt0 mtu ${MANAGEMENT_MTU} netns ${machine.initPid}`,
      `ip link add o${number} type veth peer name out0 netns ${machine.initPid}`,
      `ip link set m${number} master mgmt up`,
      `ip link set o${number} master out up`,
      // A frame that the kernel hands over unfinished (checksum, segmentation) would reach a guest through the edge as it is.
      `ethtool -K o${number} tx off tso off gso off gro off`,
      'ethtool -K out tx off tso off gso off',
    ].join('\n')]);
    await ip([`addr add ${address}/${MANAGEMENT.bits} dev mgmt0`, 'link set mgmt0 up', 'link set out0 up'], machine);
    await command(['ethtool', '-K', 'out0', 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off'], machine);
  }

  /** The site's end of a host's cable on the outside network. */
  outsideEnd(name: string): string { return `o${this.numberOf(this.host(name))}`; }

  /** Pulls or plugs a host's cable of one network. */
  async setCable(name: string, network: 'management' | 'outside', plugged: boolean): Promise<void> {
    const number = this.numberOf(this.host(name));
    await ip([`link set ${network === 'management' ? 'm' : 'o'}${number} ${plugged ? 'up' : 'down'}`], this.site.machine);
  }

  /** As a machine that stands still for a while: none of its processes runs until `thawHost`. Its interfaces stay, and the kernel answers for them. */
  freezeHost(name: string): void { this.host(name).machine.freeze(); }
  thawHost(name: string): void { this.host(name).machine.thaw(); }

  /** Power cut: all its processes are killed at once; its memory, mounts, tmpfs and network are gone when this returns. */
  async killHost(name: string): Promise<void> {
    const host = this.host(name);
    this.hosts.delete(name);
    await host.machine.kill();
    // The kernel takes a dead namespace's interfaces away only some time later; the name must be free now.
    const number = this.numberOf(host);
    await command(['sh', '-c', `for l in m${number} o${number}; do [ ! -e /sys/class/net/$l ] || ip link del $l; done`], this.site.machine);
  }

  private numberOf(host: LabHost): number {
    const number = this.numbers.get(host.name);
    if (number === undefined) throw new Error(`host "${host.name}" is not of this lab`);
    return number;
  }

  /** Runs a program on a host, or in the site when `host` is null. */
  start(host: string | null, options: Omit<ProgramOptions, 'log'>): Program {
    return Program.start(host === null ? this.site.machine : this.host(host).machine, { ...options, log: join(this.dir, `${options.name}.log`) });
  }

  /** Runs a command to its end on a host or in the site; its output. */
  exec(host: string | null, words: readonly string[]): Promise<string> {
    return command(words, host === null ? this.site.machine : this.host(host).machine);
  }

  /** Ends everything. What is not stopped before is killed. */
  async close(): Promise<void> {
    await Promise.all([...this.hosts.values()].map((host) => host.machine.kill()));
    this.hosts.clear();
    await this.site.close();
    if (this.ownDir) await rm(this.dir, { recursive: true, force: true });
  }
}
