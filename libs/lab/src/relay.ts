import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { ip } from './command.js';
import type { Lab } from './lab.js';
import { LabUnavailable } from './namespaces.js';
import type { RelayAnswer, RelayRequest, RelaySettings } from './relay/main.js';
import { CALM, type Weather } from './relay/weather.js';
import { MANAGEMENT } from './site.js';

/** From dist also when the caller runs from source: the process has several files. */
const MAIN = join(import.meta.dirname, '..', 'dist', 'relay', 'main.js');
const FIRST_SHOWN = 101;
const BUS_PORT = 4_223;

export interface RelayOptions {
  readonly hosts: readonly string[];
  readonly tunnelPort: number;
  /** Decisions reach this host so much later than the others. */
  readonly skew?: { readonly host: string; readonly delay_ms: number } | undefined;
  readonly bus: { readonly host: string; readonly port: number };
}

/** Bad weather between the hosts of a lab: their tunnels, and if asked one host's bus, lead through a process of the site that delays, reorders, loses and cuts. */
export class Relay {
  private next = 1;
  private readonly waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  private readonly ready: Promise<unknown>;

  private constructor(private readonly entered: ChildProcess, private readonly hosts: readonly string[], private readonly skewed: string | null) {
    this.ready = new Promise((resolve, reject) => { this.waiting.set(0, { resolve, reject }); });
    entered.on('message', ({ id, value }: RelayAnswer) => {
      this.waiting.get(id)?.resolve(value);
      this.waiting.delete(id);
    });
    entered.once('close', () => {
      for (const { reject } of this.waiting.values()) reject(new Error('the relay has ended: see relay.log'));
      this.waiting.clear();
    });
  }

  static async start(lab: Lab, { hosts, tunnelPort, skew, bus }: RelayOptions): Promise<Relay> {
    if (!existsSync(MAIN)) throw new LabUnavailable(`${MAIN} is not built: npm run build`);
    const shown = hosts.map((_, number) => shownAddress(number));
    await ip(shown.map((address) => `addr add ${address}/${MANAGEMENT.bits} dev mgmt`), lab.site.machine);
    const settings: RelaySettings = {
      tunnels: { port: tunnelPort, hosts: hosts.map((name, number) => ({ name, real: lab.addressOf(number), shown: shownAddress(number) })) },
      bus: skew === undefined ? null : { at: { host: MANAGEMENT.site, port: BUS_PORT }, behind: bus, delay_ms: skew.delay_ms },
    };
    // The fabric's own thread is quick; what stands between must not be slower than the guests' own work.
    const [first = '', ...words] = [...lab.site.machine.enter(), 'nice', '-n', '-10', process.execPath, MAIN, JSON.stringify(settings)];
    const log = openSync(join(lab.dir, 'relay.log'), 'a');
    try {
      const relay = new Relay(spawn(first, words, { env: process.env, stdio: ['ignore', log, log, 'ipc'] }), hosts, skew?.host ?? null);
      await relay.ready;
      return relay;
    } finally {
      closeSync(log);
    }
  }

  /** What the agent of this host is told beside the rest: under which address the others reach it, and where it really listens; and its way to the bus. */
  environment(host: string, address: string): Record<string, string> {
    const number = this.hosts.indexOf(host);
    if (number < 0) throw new Error(`host "${host}" is not among those that the relay was started for: ${this.hosts.join(', ')}`);
    return {
      VIRTCFT_TUNNEL_ADDRESS: shownAddress(number), VIRTCFT_TUNNEL_BIND: address,
      ...(this.skewed === host ? { VIRTCFT_NATS_URL: `nats://${MANAGEMENT.site}:${BUS_PORT}` } : {}),
    };
  }

  /** For what `from` sends to `to`; what is left out is calm. */
  async set(from: string, to: string, weather: Partial<Weather>): Promise<void> { await this.ask({ ask: 'weather', from, to, weather: { ...CALM, ...weather } }); }

  /** For every pair of hosts, both ways. */
  async setAll(weather: Partial<Weather>): Promise<void> {
    for (const from of this.hosts) for (const to of this.hosts) if (from !== to) await this.set(from, to, weather);
  }

  async skew(delay_ms: number): Promise<void> { await this.ask({ ask: 'skew', delay_ms }); }
  async status(): Promise<{ carried: number; lost: number }> { return await this.ask({ ask: 'status' }) as { carried: number; lost: number }; }

  private ask(request: RelayRequest): Promise<unknown> {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.entered.send({ ...request, id }, (error) => { if (error) reject(error); });
    });
  }
}

const shownAddress = (number: number): string => `${MANAGEMENT.prefix}${FIRST_SHOWN + number}`;
