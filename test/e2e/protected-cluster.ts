import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawn } from 'node:child_process';
import { Bus } from '@virtcft/bus';
import type { ClusterSpec } from '@virtcft/events';
import {
  askGuest, auditBanks, BankStatus, guestAddress, guestAppend, guestImages, GUEST_PORTS, GuestSilent, Installation, Lab, PatternStatus, PowerOrder, readLoad,
  type AuditResult, type GuestRole, type InstallationOptions,
} from '@virtcft/lab';
import type { z } from 'zod';
import { all, type FactData, type FactType } from '../../libs/lab/src/demo/facts.js';
import { ClusterWatch } from '../../libs/lab/src/demo/watch.js';

const CLI = join(import.meta.dirname, '..', '..', 'apps', 'cli', 'dist', 'main.js');
const ANSWER_MS = 3_000;
/** What a loaded machine may need for anything that takes seconds on a quiet one. */
export const PATIENCE_MS = 90_000;

export interface Ran { readonly code: number | null; readonly out: string; readonly err: string }

/** Runs a program of the product to its end, as somebody at a terminal would. */
export async function run(main: string, args: readonly string[], env: Readonly<Record<string, string>> = {}, signal?: AbortSignal): Promise<Ran> {
  const child = spawn(process.execPath, [main, ...args], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  signal?.addEventListener('abort', () => { child.kill('SIGTERM'); });
  let [out, err] = ['', ''];
  child.stdout.on('data', (data: Buffer) => { out += data.toString(); });
  child.stderr.on('data', (data: Buffer) => { err += data.toString(); });
  const code = await new Promise<number | null>((resolve, reject) => { child.once('error', reject).once('close', resolve); });
  return { code, out, err };
}

type Cause = FactData<'generation.raising'>['cause'];

export interface Guest { readonly name: string; readonly role: GuestRole; readonly host: string; readonly memory_mib?: number; /** Names of the guests that move money among each other, its own too, in the same order for each. Default: itself. */ readonly peers?: readonly string[] }

/** How long things take with other guests than QEMU's, and what they boot. */
export interface Pace { readonly patience_ms: number; readonly answer_ms: number; readonly under: 'qemu' | 'xen' }
const USUAL: Pace = { patience_ms: PATIENCE_MS, answer_ms: ANSWER_MS, under: 'qemu' };

/** A lab with VirtCFT, used through the command line and the bus as an operator uses it. */
export class ProtectedCluster {
  private constructor(readonly lab: Lab, readonly installation: Installation, public bus: Bus, public watch: ClusterWatch, private readonly pace: Pace) {}

  private guests: readonly Guest[] = [];

  /** `prepare` may change the lab before anything of VirtCFT starts, and say more options. Nothing is left when this throws. */
  static async open(options: InstallationOptions, prepare: (lab: Lab) => Promise<Partial<InstallationOptions> | void> = () => Promise.resolve(), pace: Pace = USUAL): Promise<ProtectedCluster> {
    const lab = await Lab.open();
    try {
      const more = await prepare(lab);
      const installation = await Installation.start(lab, { ...options, ...more });
      const bus = await Bus.connect(installation.nats.options('operator'));
      await bus.awaitStreams(PATIENCE_MS);
      return new ProtectedCluster(lab, installation, bus, await ClusterWatch.follow(bus), pace);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.watch.stop();
    await this.bus.close();
    await this.installation.stop();
    await this.lab.close();
  }

  /** The bus is lost with all that it stored, and begins with nothing; the services were started again, and this watches the new log from its beginning. */
  async loseBus(): Promise<void> {
    this.watch.stop();
    await this.bus.close();
    await this.installation.nats.lose();
    await this.installation.superviseServices();
    this.bus = await Bus.connect(this.installation.nats.options('operator'));
    await this.bus.awaitStreams(PATIENCE_MS);
    this.watch = await ClusterWatch.follow(this.bus);
  }

  /** Writes the cluster file, as JSON, which is YAML too; its path. Load: `light`, without the probe, so that an emulated guest leaves the machine time. */
  file(name: string, guests: readonly Guest[], more: Partial<z.input<typeof ClusterSpec>> = {}, hosts = [...new Set(guests.map(({ host }) => host))]): string {
    this.guests = guests;
    const images = guestImages();
    const load = { ...readLoad('light').guest, moves: 20, writes: 100, verify: 500, probe: 0 };
    const spec = {
      apiVersion: 'virtcft/v1', name, hosts, interval_ms: 200,
      vms: guests.map((guest, number) => ({
        name: guest.name, host: guest.host, memory_mib: guest.memory_mib ?? 96, kernel: this.pace.under === 'xen' ? images.plainKernel : images.kernel, initrd: images.initrd[guest.role], mac: `52:54:00:99:00:0${number}`,
        address: this.address(guest.name),
        append: guestAppend({ console: this.pace.under === 'xen' ? 'hvc0' : 'ttyS0', address: this.address(guest.name), peers: (guest.peers ?? [guest.name]).map((peer) => this.address(peer)), role: guest.role, load }),
      })),
      ...more,
    } satisfies z.input<typeof ClusterSpec>;
    return this.write(`${name}.yaml`, JSON.stringify(spec, null, 2));
  }

  write(name: string, text: string): string {
    const path = join(this.lab.dir, name);
    writeFileSync(path, text);
    return path;
  }

  /** The real command line, as the operator; any exit code. */
  async virtcft(...words: string[]): Promise<Ran> {
    const { servers, user, password } = this.installation.nats.options('operator');
    return run(CLI, words, { VIRTCFT_NATS_URL: String(servers), VIRTCFT_NATS_USER: user ?? '', VIRTCFT_NATS_PASSWORD: password ?? '' });
  }

  /** A drill on this machine, which is none of the lab's and has the store; any exit code. */
  async drill(signal: AbortSignal, ...words: string[]): Promise<Ran> {
    const { servers, user, password } = this.installation.nats.options('operator');
    const { store, storeEnv } = this.installation;
    return run(CLI, ['drill', '--directory', join(this.lab.dir, 'drills'), '--output', 'json', ...words], {
      VIRTCFT_NATS_URL: String(servers), VIRTCFT_NATS_USER: user ?? '', VIRTCFT_NATS_PASSWORD: password ?? '', VIRTCFT_STORE: store, ...storeEnv, VIRTCFT_SWAP: 'allow',
    }, signal);
  }

  /** The same; what it printed, as a value. Throws unless it exits with 0. */
  async json<T = Record<string, unknown>>(...words: string[]): Promise<T> {
    const ran = await this.virtcft(...words, '--output', 'json');
    if (ran.code !== 0) throw new Error(`virtcft ${words.join(' ')}: exit ${ran.code ?? 'by a signal'}: ${ran.err}`);
    return JSON.parse(ran.out) as T;
  }

  facts<T extends FactType>(type: T): FactData<T>[] { return all(this.watch.facts, type).map(({ data }) => data); }

  /** Until so many more epochs are committed, from now on. */
  async commits(more: number): Promise<void> {
    const { committed } = this.watch.state.epochs;
    await this.watch.until(`${more} more epochs committed`, this.pace.patience_ms, () => this.watch.state.stage === 'running' && this.watch.state.epochs.committed >= committed + more);
  }

  /** Until the recovery that follows `generation` is through and its first epochs are committed: protected again. Why there were raises. */
  async recovered(generation: number): Promise<Cause[]> {
    await this.watch.until(`the recovery after generation ${generation}`, this.pace.patience_ms, () => this.watch.state.generation > generation && this.watch.state.stage === 'running' && this.watch.state.basis === null);
    await this.commits(2);
    return this.facts('generation.raising').filter((raising) => raising.generation > generation).map(({ cause }) => cause);
  }

  address(name: string): string {
    const number = this.guests.findIndex((guest) => guest.name === name);
    if (number < 0) throw new Error(`no guest "${name}"`);
    return guestAddress(number);
  }

  bank(name: string, command = 'status'): Promise<BankStatus> { return this.ask(this.address(name), GUEST_PORTS.bankControl, command, BankStatus); }
  pattern(name: string): Promise<PatternStatus> { return this.ask(this.address(name), GUEST_PORTS.patternControl, 'status', PatternStatus); }
  async power(name: string, order: PowerOrder['order']): Promise<void> { await this.ask(this.address(name), GUEST_PORTS.patternControl, order, PowerOrder); }

  audit(...names: string[]): Promise<AuditResult> {
    return auditBanks(names.map((name) => this.address(name)), (address, command) => this.ask(address, GUEST_PORTS.bankControl, command, BankStatus), { timeout_ms: 10 * this.pace.answer_ms });
  }

  /** Asked until it answers: what a guest says leaves with the next commit, and a guest that boots says nothing. */
  async ask<T>(address: string, port: number, command: string, schema: z.ZodType<T>): Promise<T> {
    for (const until = performance.now() + this.pace.patience_ms; ;) {
      try {
        return await askGuest(() => this.lab.site.connect(address, port), command, schema, this.pace.answer_ms);
      } catch (error) {
        if (!(error instanceof GuestSilent) || performance.now() > until) throw error;
        await sleep(200);
      }
    }
  }
}

/** Asked again and again, for what no event tells. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeout_ms = PATIENCE_MS): Promise<void> {
  for (const end = performance.now() + timeout_ms; !(await holds()); await sleep(200)) {
    if (performance.now() > end) throw new Error(`${what}: not seen within ${timeout_ms / 1000} s`);
  }
}
