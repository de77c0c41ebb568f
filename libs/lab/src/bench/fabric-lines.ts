// The three ways between two machines that the fabric bench compares, side by side: the product's switch, a loop in JavaScript, a Linux bridge.
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { command } from '../command.js';
import { Namespaces } from '../namespaces.js';
import { Program } from '../program.js';
import { script } from '../site.js';

export const ways = ['ours', 'js_switch', 'bridge'] as const;
export type Way = (typeof ways)[number];

const LONGEST_START_MS = 20_000;
/** Opens TAPs by name and becomes node with their descriptors; Node itself has no ioctl. */
const WITH_TAPS = `
import fcntl, os, struct, sys
def tap(name):
    at = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(at, 0x400454ca, struct.pack('16sH22x', name.encode(), 0x1002))
    os.set_inheritable(at, True)
    return str(at)
node, script, one, two = sys.argv[1:]
os.execv(node, [node, script, tap(one), tap(two)])`;

const macOf = (way: Way, end: number): string => `52:54:00:91:0${ways.indexOf(way)}:0${end}`;
const deviceOf = (way: Way, end: number): string => `${way.slice(0, 2)}${end}`;

/** Two machines, joined in each of the ways by a third. Ends with the process that made it. */
export class FabricLines {
  private constructor(private readonly near: Namespaces, private readonly far: Namespaces, private readonly middle: Namespaces, private readonly programs: Program[]) {}

  static async lay(dir: string, mtu: number): Promise<FabricLines> {
    const machines = await Promise.all(['near', 'far', 'middle'].map((name) => Namespaces.create(name)));
    const [near, far, middle] = machines as [Namespaces, Namespaces, Namespaces];
    const lines = new FabricLines(near, far, middle, []);
    try {
      const taps = (way: Way): [string, string] => [deviceOf(way, 1), deviceOf(way, 2)];
      const [[one, two], mac] = [taps('ours'), (end: number): string => macOf('ours', end)];
      lines.run(dir, middle, 'ours', [process.execPath, '--no-warnings', script('bench/fabric-ours'), one, mac(1), two, mac(2), String(mtu)]);
      lines.run(dir, middle, 'js', ['python3', '-c', WITH_TAPS, process.execPath, script('bench/fabric-js'), ...taps('js_switch')]);
      await lines.bridge();
      for (const way of ways) {
        await lines.plug(way, 1, near, mtu);
        await lines.plug(way, 2, far, mtu);
      }
      lines.run(dir, far, 'far', [process.execPath, script('bench/fabric-ends'), 'far']);
      return lines;
    } catch (error) {
      await lines.close();
      throw error;
    }
  }

  /** What the near machine says when it is asked; the far one answers under this way's address. */
  async ask(way: Way, what: 'stream' | 'ping', ...more: readonly string[]): Promise<unknown> {
    for (let tries = 0; ; tries += 1) {
      try {
        return JSON.parse(await command([process.execPath, script('bench/fabric-ends'), what, this.address(way, 2), ...more], this.near));
      } catch (error) {
        const fallen = this.programs.find((program) => !program.running);
        if (fallen) throw new Error(`${fallen.name} has ended: ${fallen.tail()}`, { cause: error });
        if (tries === 50) throw error;
        await wait(200); // the far end is still starting
      }
    }
  }

  /** The offloads that are on at this way's ends, by ethtool's names. */
  async offloads(way: Way): Promise<string[]> {
    const names = ['tx-checksumming', 'scatter-gather', 'tcp-segmentation-offload', 'generic-segmentation-offload', 'generic-receive-offload'];
    const said = await Promise.all([command(['ethtool', '-k', deviceOf(way, 1)], this.near), command(['ethtool', '-k', deviceOf(way, 2)], this.far)]);
    return names.filter((name) => said.some((each) => !new RegExp(`^${name}: off`, 'm').test(each)));
  }

  async close(): Promise<void> {
    await Promise.all([this.near, this.far, this.middle].map((machine) => machine.kill()));
    await Promise.all(this.programs.map((program) => program.ended));
  }

  private address(way: Way, end: number): string { return `10.91.${ways.indexOf(way)}.${end}`; }

  private run(dir: string, machine: Namespaces, name: string, words: readonly string[]): void {
    this.programs.push(Program.start(machine, { name, command: words, log: join(dir, `${name}.log`) }));
  }

  /** Only the network of the middle is entered here, so that process ids mean the same as outside. */
  private inMiddle(words: readonly string[]): Promise<string> {
    return command(['nsenter', `--target=${this.middle.initPid}`, '--net', '--', ...words]);
  }

  private async bridge(): Promise<void> {
    const lines = ['ip link add name middle type bridge forward_delay 0 mcast_snooping 0', 'ip link set middle up'];
    for (const end of [1, 2]) {
      lines.push(`ip link add name b${end} type veth peer name ${deviceOf('bridge', end)}`, `ip link set b${end} master middle up`, `ethtool -K b${end} tx off sg off tso off gso off gro off`);
    }
    await this.inMiddle(['sh', '-ec', lines.join('\n')]);
  }

  /** Moves the interface, made by its switch, to the machine that talks through it. */
  private async plug(way: Way, end: number, machine: Namespaces, mtu: number): Promise<void> {
    const device = deviceOf(way, end);
    for (let waited_ms = 0; ; waited_ms += 50) {
      const there = await this.inMiddle(['ip', '-brief', 'link', 'show']).then((links) => links.split('\n').some((line) => new RegExp(`^${device}[@ ]`).test(line)));
      if (there) break;
      if (waited_ms > LONGEST_START_MS) throw new Error(`${device} did not appear: ${this.programs.map((program) => program.tail()).join('\n')}`);
      await wait(50);
    }
    await wait(100); // its switch has set it up
    await this.inMiddle(['ip', 'link', 'set', device, 'netns', String(machine.initPid)]);
    await command(['sh', '-ec', [
      `ip link set ${device} address ${macOf(way, end)} mtu ${mtu} addrgenmode none up`, `ip addr add ${this.address(way, end)}/24 dev ${device}`,
      `ethtool -K ${device} tx off sg off tso off gso off gro off`,
    ].join('\n')], machine);
  }
}
