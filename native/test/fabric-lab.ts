// Guests, hosts and a meddling network for the fabric's tests.
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

import { Fabric } from '@virtcft/native';
import type { FabricEvent, FabricGeneration, FabricOptions } from '@virtcft/native';

export const CLUSTER = '0123456789abcdef0123456789abcdef';
export const INCARNATION = 'aa'.repeat(16);
export const SECRET = Buffer.alloc(32, 0x5a);
export const lifeOf = (host: number): string => `1f${host.toString(16).padStart(2, '0')}`.padEnd(32, '0');

/** The seal of a datagram's header and body as docs/formats/tunnel.md derives it, by the system's own BLAKE2b (Node's knows no key). */
export function sealOf(bytes: Buffer): string {
  const script = `
import hashlib, sys
secret, cluster, message = (bytes.fromhex(word) for word in sys.argv[1:])
root = hashlib.blake2b(secret, digest_size=64).digest()
key = hashlib.blake2b(b'virtcft tunnel 2' + cluster + message[24:40], digest_size=32, key=root).digest()
print(hashlib.blake2b(message, digest_size=16, key=key).hexdigest())`;
  return execFileSync('python3', ['-c', script, SECRET.toString('hex'), CLUSTER, bytes.toString('hex')], { encoding: 'utf8' }).trim();
}

export const BROADCAST = 'ff:ff:ff:ff:ff:ff';
export const macOf = (guest: number): string => `52:54:00:00:00:${guest.toString(16).padStart(2, '0')}`;
export const addressOf = (host: number): string => `127.0.0.${10 + host}`;
export const PORT = 47_250;

export function frame(to: string, from: string, text: string): Buffer {
  return Buffer.concat([Buffer.from(to.replaceAll(':', ''), 'hex'), Buffer.from(from.replaceAll(':', ''), 'hex'), Buffer.from([0x88, 0xb5]), Buffer.from(text)]);
}
export const textOf = (bytes: Buffer): string => bytes.subarray(14).toString();

export async function until(so: () => boolean): Promise<void> {
  for (let i = 0; i < 2000 && !so(); i++) await delay(5);
  if (!so()) throw new Error(`never became so: ${String(so)}`);
}

export class Guest {
  readonly mac: string;
  readonly path: string;
  readonly port: string;
  readonly heard: string[] = [];
  #process: ChildProcess | null = null;

  constructor(folder: string, readonly number: number) {
    this.mac = macOf(number);
    this.path = join(folder, `g${number}`);
    this.port = join(folder, `p${number}`);
  }
  async start(): Promise<this> {
    const child = spawn('python3', [join(import.meta.dirname, 'fabric-guest.py'), this.path, this.port], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#process = child;
    const lines = createInterface({ input: child.stdout });
    const ready = once(lines, 'line');
    await ready;
    lines.on('line', (line) => this.heard.push(textOf(Buffer.from(line, 'hex'))));
    return this;
  }
  send(to: string, text: string): void {
    this.#process?.stdin?.write(`${frame(to, this.mac, text).toString('hex')}\n`);
  }
  async hears(text: string): Promise<void> {
    await until(() => this.heard.includes(text));
  }
  async stop(): Promise<void> {
    if (!this.#process) return;
    const ended = once(this.#process, 'exit');
    this.#process.stdin?.end();
    await ended;
  }
}

/** UDP between two hosts that the test may lose, repeat or keep: host `a` sends to `a's` side of it, and so on. */
export class Meddler {
  readonly #sockets: Socket[] = [];
  /** How often a datagram is passed on. */
  copies: (kind: number) => number = () => 1;
  readonly seen = new Map<number, number>();

  async start(from: number, to: number, address: string): Promise<{ address: string; port: number }> {
    const socket = createSocket('udp4');
    this.#sockets.push(socket);
    socket.on('message', (message) => {
      const kind = message[5] ?? 0;
      this.seen.set(kind, (this.seen.get(kind) ?? 0) + 1);
      for (let i = this.copies(kind); i > 0; i--) socket.send(message, PORT, addressOf(to));
    });
    socket.bind(PORT + 1 + from, address);
    await once(socket, 'listening');
    return { address, port: PORT + 1 + from };
  }
  stop(): void {
    for (const socket of this.#sockets) socket.close();
  }
}
export const KIND = { frame: 1, marker: 2, acknowledgement: 3, hello: 4 } as const;

export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), 'fabric-'));
  readonly fabrics: Fabric[] = [];
  readonly events: FabricEvent[][] = [];
  readonly guests: Guest[] = [];

  /** Guest n is on host n % hosts. */
  static async of(hosts: number, guests: number, options: Partial<FabricOptions> = {}): Promise<Lab> {
    const lab = new Lab();
    for (let host = 0; host < hosts; host++) {
      const events: FabricEvent[] = [];
      lab.events.push(events);
      const tunnel = { address: addressOf(host), port: PORT };
      const all = { cluster: CLUSTER, host, life: lifeOf(host), secret: SECRET, tunnel, edge: null, mtu: 1500, heldOutputBytes: 1 << 20, heldOutputAge_ms: 600_000, portQueueFrames: 1024, ...options };
      lab.fabrics.push(new Fabric(all, (more) => events.push(...more)));
    }
    for (let number = 0; number < guests; number++) {
      const guest = await new Guest(lab.folder, number).start();
      lab.guests.push(guest);
      await lab.fabric(number % hosts).addPort({ nic: guest.mac, path: guest.port, peerPath: guest.path });
    }
    await Promise.all(lab.fabrics.map((fabric) => fabric.setGeneration(lab.wiring(), null)));
    return lab;
  }
  fabric(host: number): Fabric {
    const fabric = this.fabrics[host];
    if (!fabric) throw new Error(`no host ${host}`);
    return fabric;
  }
  guest(number: number): Guest {
    const guest = this.guests[number];
    if (!guest) throw new Error(`no guest ${number}`);
    return guest;
  }
  wiring(changes: Partial<FabricGeneration> = {}): FabricGeneration {
    const hosts = this.fabrics.length;
    return {
      generation: 1,
      incarnation: INCARNATION,
      colour: 1,
      peers: this.fabrics.map((_, host) => ({ host, life: lifeOf(host), address: addressOf(host), port: PORT })),
      macs: this.guests.map((guest) => ({ mac: guest.mac, host: guest.number % hosts })),
      mtu: null,
      heldOutputBytes: null,
      ...changes,
    };
  }
  async cut(host: number, epoch: number): Promise<void> {
    await this.fabric(host).hold();
    await this.fabric(host).flip(epoch);
    await this.fabric(host).release();
  }
  async stop(): Promise<void> {
    for (const fabric of this.fabrics) fabric.close();
    await Promise.all(this.guests.map((guest) => guest.stop()));
    rmSync(this.folder, { recursive: true, force: true });
  }
}
