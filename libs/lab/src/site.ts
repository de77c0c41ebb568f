import { createServer, connect, type Server, type Socket } from 'node:net';
import { access } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ip } from './command.js';
import { LabUnavailable, Namespaces } from './namespaces.js';
import { Program } from './program.js';

/** Management network: agents, services, tunnels between hosts. */
export const MANAGEMENT = { prefix: '10.77.0.', bits: 24, site: '10.77.0.1' } as const;
/** Outside network: edges of the hosts, clients. Guests have addresses in it. */
export const OUTSIDE = { prefix: '10.88.0.', bits: 24, site: '10.88.0.1' } as const;

/** Path of a script of this package, to be run by node: from source in tests, from dist in use. */
export function script(name: string): string {
  return join(import.meta.dirname, `${name}${extname(import.meta.filename)}`);
}

/** The place where services and outside clients run: a machine with both networks' bridges, reachable from here through a portal. */
export class Site {
  private readonly servers: Server[] = [];
  private constructor(readonly machine: Namespaces, readonly dir: string, private readonly portal: Program) {}

  static async create(dir: string): Promise<Site> {
    const machine = await Namespaces.create('site');
    try {
      await ip([
        'link add mgmt type bridge forward_delay 0 mcast_snooping 0',
        'link add out type bridge forward_delay 0 mcast_snooping 0',
        `addr add ${MANAGEMENT.site}/${MANAGEMENT.bits} dev mgmt`,
        `addr add ${OUTSIDE.site}/${OUTSIDE.bits} dev out`,
        'link set mgmt up',
        'link set out up',
      ], machine);
      const socket = join(dir, 'portal');
      const portal = Program.start(machine, { name: 'portal', command: [process.execPath, '--no-warnings', script('portal'), socket], log: join(dir, 'portal.log'), nice: -10 });
      for (let waited_ms = 0; !(await exists(socket)); waited_ms += 20) {
        if (!portal.running || waited_ms > 20_000) throw new LabUnavailable(`the lab's portal does not start: ${portal.tail()}`);
        await sleep(20);
      }
      return new Site(machine, dir, portal);
    } catch (error) {
      await machine.kill();
      throw error;
    }
  }

  /** A TCP connection made inside the site. An address that refuses shows as a connection that closes at once. `half-open`: it stays when one side has said all. */
  connect(address: string, port: number, ways: 'both' | 'half-open' = 'both'): Socket {
    const socket = connect(join(this.dir, 'portal'));
    socket.write(`${address} ${port}${ways === 'half-open' ? ' half-open' : ''}\n`);
    return socket;
  }

  /** A port on 127.0.0.1 here that leads to an address inside the site. */
  async forward(address: string, port: number): Promise<number> {
    const server = createServer((outer) => {
      const inner = this.connect(address, port);
      outer.on('error', () => { inner.destroy(); });
      inner.on('error', () => { outer.destroy(); });
      outer.once('close', () => { inner.destroySoon(); });
      inner.once('close', () => { outer.destroySoon(); });
      outer.setNoDelay(true).pipe(inner).pipe(outer);
    });
    this.servers.push(server);
    await new Promise<void>((resolve, reject) => { server.once('error', reject).listen(0, '127.0.0.1', resolve); });
    const at = server.address();
    if (at === null || typeof at === 'string') throw new Error('no port was given to the forwarding server');
    return at.port;
  }

  async close(): Promise<void> {
    for (const server of this.servers) server.close();
    await this.machine.kill();
    await this.portal.ended;
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(() => true, (error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return false;
    throw error;
  });
}
