import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { ApiError, Bus } from '@virtcft/bus';
import { z } from 'zod';
import { CliError, exit } from './exit.js';
import { ClusterView, CutView, foldLog, HostView } from './view.js';

/** The world of one run: tests give their own. */
export interface Io {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted at Ctrl-C. */
  readonly signal: AbortSignal;
  /** Whether a person looks at it: progress may then redraw lines. */
  readonly terminal: boolean;
}

export interface GlobalOptions { readonly nats: string; readonly user?: string; readonly passwordFile?: string; readonly cluster?: string; readonly output: 'table' | 'json' }

const seconds = 1_000;

/** One connection, as long as a command runs. */
export class Session {
  private constructor(readonly bus: Bus, readonly io: Io, readonly options: GlobalOptions) {}

  static async run<T>(io: Io, options: GlobalOptions, work: (session: Session) => Promise<T>): Promise<T> {
    const user = options.user ?? io.env['VIRTCFT_NATS_USER'];
    const password = passwordOf(io, options);
    const bus = await Bus.connect({ servers: options.nats, name: 'cli', ...(user === undefined ? {} : { user }), ...(password === undefined ? {} : { password }) });
    try {
      return await work(new Session(bus, io, options));
    } finally {
      await bus.close();
    }
  }

  /** Who asks, for the log. */
  get by(): string { return `${userInfo().username} (virtcft)`; }

  /** A table for people, or the value itself for machines. */
  show(value: unknown, people: () => string): void {
    this.io.out(this.options.output === 'json' ? `${JSON.stringify(value, null, 2)}\n` : people());
  }

  /** Asks a service, and trusts its answer only as far as it has the shape. */
  async ask<T>(service: string, verb: string, body: unknown, reply: z.ZodType<T>, timeout_ms = 10 * seconds): Promise<T> {
    const parsed = reply.safeParse(await this.bus.request(service, verb, body, { timeout_ms }));
    if (!parsed.success) throw new CliError(exit.failed, `${service} answered ${verb} in a way this virtcft does not know: ${z.prettifyError(parsed.error)}`, 'use the virtcft of the same version');
    return parsed.data;
  }

  /** All clusters: from the coordinator; when none answers, folded from the log. */
  async clusters(): Promise<ClusterView[]> {
    try {
      return (await this.ask('coordinator', 'get', {}, z.object({ clusters: z.array(ClusterView) }))).clusters;
    } catch (error) {
      if (!(error instanceof ApiError) || (error.code !== 'unavailable' && error.code !== 'timeout')) throw error;
      this.io.err('virtcft: no coordinator answers; this is what the log says\n');
      return foldLog(this.bus, this.io.signal);
    }
  }

  /** The one that was named, by argument or --cluster; or the only one. */
  async cluster(name = this.options.cluster): Promise<ClusterView> {
    const clusters = await this.clusters();
    if (name !== undefined) {
      const found = clusters.find((view) => view.name === name || view.id === name);
      if (!found) throw new CliError(exit.notFound, `there is no cluster "${name}"`, clusters.length === 0 ? 'make one with "virtcft apply -f cluster.yaml"' : `there are: ${clusters.map((view) => view.name).join(', ')}`);
      return found;
    }
    const [only, ...others] = clusters;
    if (!only) throw new CliError(exit.notFound, 'there is no cluster', 'make one with "virtcft apply -f cluster.yaml"');
    if (others.length > 0) throw new CliError(exit.usage, `there are ${clusters.length} clusters`, `choose one with --cluster: ${clusters.map((view) => view.name).join(', ')}`);
    return only;
  }

  async hosts(): Promise<HostView[]> {
    return (await this.ask('coordinator', 'hosts', {}, z.object({ hosts: z.array(HostView) }))).hosts;
  }

  /** Newest first. */
  async cuts(cluster: ClusterView, limit: number): Promise<CutView[]> {
    return (await this.ask('replica-store', 'cuts', { cluster: cluster.id, limit }, z.object({ cuts: z.array(CutView) }))).cuts;
  }
}

function passwordOf({ env }: Io, options: GlobalOptions): string | undefined {
  const file = options.passwordFile ?? env['VIRTCFT_NATS_PASSWORD_FILE'];
  if (file === undefined) return env['VIRTCFT_NATS_PASSWORD'];
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new CliError(exit.usage, `the password file ${file} cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`, 'give a file that you may read with --password-file', { cause: error });
  }
}
