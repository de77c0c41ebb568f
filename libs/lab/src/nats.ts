import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { serverConfig, userName, type BusOptions, type Service } from '@virtcft/bus';
import type { Lab } from './lab.js';
import { LabUnavailable } from './namespaces.js';
import type { Program } from './program.js';
import { MANAGEMENT } from './site.js';

const PORT = 4222;
const START_MS = 20_000;
const BINARY = join(import.meta.dirname, '..', '..', '..', '.cache', 'bin', 'nats-server');

/** A real nats-server in the site, where each service has its own user and rights. */
export class LabNats {
  private constructor(private readonly lab: Lab, private readonly config: string, private readonly passwords: ReadonlyMap<Service, string>, private program: Program, private readonly forwarded: number) {}

  static async start(lab: Lab, services: readonly Service[]): Promise<LabNats> {
    if (!existsSync(BINARY)) throw new LabUnavailable('nats-server is not here: npm run setup');
    const passwords = new Map(services.map((service) => [service, randomBytes(12).toString('hex')]));
    const config = join(lab.dir, 'nats.conf');
    const users = [...passwords].map(([service, password]) => ({ service, password }));
    writeFileSync(config, serverConfig({ host: MANAGEMENT.site, port: PORT, storeDir: join(lab.dir, 'nats'), users }), { mode: 0o600 });
    const program = LabNats.run(lab, config);
    const nats = new LabNats(lab, config, passwords, program, await lab.site.forward(MANAGEMENT.site, PORT));
    await nats.answers();
    return nats;
  }

  private static run(lab: Lab, config: string): Program {
    return lab.start(null, { name: 'nats', command: [BINARY, '-c', config], nice: -10 });
  }

  private async answers(): Promise<void> {
    for (let waited_ms = 0; waited_ms < START_MS; waited_ms += 50) {
      if (!this.program.running) break;
      const greeted = await new Promise<boolean>((resolve) => {
        const socket = this.lab.site.connect(MANAGEMENT.site, PORT);
        socket.once('data', () => { resolve(true); socket.destroy(); }).once('close', () => { resolve(false); }).once('error', () => { resolve(false); });
      });
      if (greeted) return;
      await sleep(50);
    }
    throw new LabUnavailable(`nats-server does not answer:\n${this.program.tail()}`);
  }

  private passwordOf(service: Service): string {
    const password = this.passwords.get(service);
    if (password === undefined) throw new Error(`"${service}" has no user on this bus`);
    return password;
  }

  /** Where it listens, in the lab. */
  readonly inside = { host: MANAGEMENT.site, port: PORT } as const;

  /** For a service that runs in the lab. */
  environment(service: Service): Record<string, string> {
    return { VIRTCFT_NATS_URL: `nats://${MANAGEMENT.site}:${PORT}`, VIRTCFT_NATS_USER: userName(service), VIRTCFT_NATS_PASSWORD: this.passwordOf(service) };
  }

  /** For a connection from this process, outside the lab. */
  options(service: Service): BusOptions {
    return { servers: `nats://127.0.0.1:${this.forwarded}`, name: `lab-${userName(service)}`, user: userName(service), password: this.passwordOf(service) };
  }

  /** Ends it, by default in order, waits, and starts it again on the same data. */
  async restart(down_ms = 0, how: 'stop' | 'kill' = 'stop'): Promise<void> {
    if (how === 'kill') this.program.signal('SIGKILL');
    await this.stop();
    await sleep(down_ms);
    this.program = LabNats.run(this.lab, this.config);
    await this.answers();
  }

  /** Killed, all that it stored removed, and started again with nothing. */
  async lose(): Promise<void> {
    this.program.signal('SIGKILL');
    await this.stop();
    await rm(join(this.lab.dir, 'nats'), { recursive: true });
    this.program = LabNats.run(this.lab, this.config);
    await this.answers();
  }

  async stop(): Promise<void> {
    await this.program.stop();
  }
}
