import { createSocket, type Socket } from 'node:dgram';
import { CALM, fate, type Weather } from './weather.js';

/** A host as the relay knows it: `real` is where it listens, `shown` the relay's address that the others send to instead. Same port. */
export interface RelayedHost { readonly name: string; readonly real: string; readonly shown: string }

const KEPT_BYTES = 4 * 1024 * 1024; // of each socket in the kernel: a burst must not be lost before its fate is decided

/**
 * Carries datagrams between hosts that know each other under the relay's addresses. What it sends on comes from the address under which the
 * sender is known, as without a relay. Every ordered pair of hosts has a weather of its own.
 */
export class DatagramRelay {
  private readonly sockets = new Map<string, Socket>();
  private readonly weathers = new Map<string, Weather>();
  private counts = { carried: 0, lost: 0 };

  private constructor(private readonly hosts: readonly RelayedHost[], private readonly port: number, private readonly chance: () => number) {}

  static async open(hosts: readonly RelayedHost[], port: number, chance: () => number = Math.random): Promise<DatagramRelay> {
    const relay = new DatagramRelay(hosts, port, chance);
    for (const host of hosts) {
      const socket = createSocket({ type: 'udp4', recvBufferSize: KEPT_BYTES, sendBufferSize: KEPT_BYTES });
      await new Promise<void>((resolve, reject) => { socket.once('error', reject).bind(port, host.shown, () => { socket.off('error', reject); resolve(); }); });
      // A host that is down refuses what comes; that is its answer, not ours.
      socket.on('error', () => { relay.counts.lost += 1; });
      socket.on('message', (datagram, from) => { relay.carry(from.address, host, datagram); });
      relay.sockets.set(host.real, socket);
    }
    return relay;
  }

  /** From now on, for what `from` sends to `to`. */
  set(from: string, to: string, weather: Weather): void { this.weathers.set(`${from} ${to}`, weather); }

  status(): { carried: number; lost: number } { return { ...this.counts }; }

  close(): void { for (const socket of this.sockets.values()) socket.close(); }

  private carry(sender: string, to: RelayedHost, datagram: Buffer): void {
    const from = this.hosts.find(({ real }) => real === sender);
    const out = this.sockets.get(sender);
    if (from === undefined || out === undefined) return; // of nobody that is relayed
    const delay_ms = fate(this.weathers.get(`${from.name} ${to.name}`) ?? CALM, this.chance);
    if (delay_ms === null) { this.counts.lost += 1; return; }
    this.counts.carried += 1;
    const send = (): void => { out.send(datagram, this.port, to.real); };
    if (delay_ms === 0) send();
    else setTimeout(send, delay_ms);
  }
}
