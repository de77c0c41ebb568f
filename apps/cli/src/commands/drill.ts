import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DrillPlan, Pin, type CutRef, type DrillMessage } from '@virtcft/events';
import { z } from 'zod';
import { givesWay } from '../drill/gives-way.js';
import { drillMain, runDrillProgram, type DrillEnd } from '../drill/program.js';
import { CliError, exit } from '../exit.js';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { description, duration, printable } from '../table.js';
import { ClusterView } from '../view.js';
import { parseCut } from './restore.js';
import { cutName } from './status.js';

export interface DrillOptions extends GlobalOptions {
  readonly cut?: string;
  readonly check?: string;
  readonly timeout: number;
  readonly settle: number;
  readonly keep?: boolean;
  readonly directory: string;
  readonly address?: string;
}

/** Below a second, so that a drill has left the machine before a recovery has planned anything. */
const poll_ms = 300;

interface Report {
  readonly drill: string;
  readonly cluster: string;
  readonly cut: CutRef;
  readonly ok: boolean;
  readonly gave_way: boolean;
  readonly reason: string | null;
  readonly vms: NonNullable<DrillEnd['result']>['vms'];
  readonly fold_ms: number | null;
  readonly load_ms: number | null;
  readonly check: NonNullable<DrillEnd['result']>['check'];
  readonly torn_down: readonly string[];
}

/** Restores a cut beside the running cluster, where nobody but a check can reach it, and takes it away again (R26). */
export async function drill(io: Io, options: DrillOptions, main = drillMain): Promise<void> {
  const wanted = options.cut === undefined ? null : parseCut(options.cut);
  await Session.run(io, options, async (session) => {
    const view = await session.cluster();
    if (view.stage !== 'running' || view.spec === null) throw new CliError(exit.refused, `cluster ${view.name} is ${view.stage}: a drill would be in its way`, 'drill when "virtcft status" shows it running');
    const cut = wanted ?? view.tip;
    if (cut === null) throw new CliError(exit.notFound, 'no cut is committed yet', 'wait for the first ("virtcft status")');
    const id = `drill-${randomBytes(3).toString('hex')}`;
    const { cut: held } = await session.ask('coordinator', 'pin', { cluster: view.name, name: id, generation: cut.generation, epoch: cut.epoch, by: session.by }, Pin, 30_000);
    let report: Report;
    try {
      report = await watched(session, view, planOf(id, view, held, options), main);
    } finally {
      await unpin(session, view.name, id);
    }
    session.show(report, () => describe(report));
    if (report.gave_way) throw new CliError(exit.gaveWay, `the drill gave way: ${report.reason ?? ''}`, 'drill again when "virtcft status" shows the cluster running');
    if (!report.ok) throw new CliError(exit.failed, `the drill failed: ${report.reason ?? ''}`, report.check === null ? '' : 'what the check said is above');
  });
}

function planOf(id: string, view: ClusterView, cut: CutRef, { check, timeout, settle, keep, directory, address }: DrillOptions): DrillPlan {
  const parsed = DrillPlan.safeParse({
    id, cluster: view.id, cut, spec: view.spec, check: check === undefined ? null : { command: check, timeout_s: timeout }, settle_s: settle, keep: keep ?? false, directory: resolve(directory), address: address ?? null,
  });
  if (!parsed.success) throw new CliError(exit.usage, z.prettifyError(parsed.error), 'see "virtcft drill --help"');
  return parsed.data;
}

/** The drill, with an eye on the cluster: ended at once when that needs its machines for itself. */
async function watched(session: Session, view: ClusterView, plan: DrillPlan, main: string): Promise<Report> {
  const { io } = session;
  const over = new AbortController();
  const way = new AbortController();
  let why: string | null = null;
  const watch = async (): Promise<void> => {
    while (!over.signal.aborted && why === null) {
      await sleep(poll_ms, undefined, { signal: over.signal }).catch(() => undefined);
      why = await clusterNeeds(session, view);
    }
    if (why !== null) way.abort();
  };
  const watching = watch();
  try {
    // The drill program is no user of the bus.
    const env = Object.fromEntries(Object.entries(io.env).filter(([name]) => !name.startsWith('VIRTCFT_NATS_')));
    const end = await runDrillProgram(main, plan, env, AbortSignal.any([io.signal, way.signal]), (message) => { tell(io, message); });
    if (io.signal.aborted && end.result === null) throw new CliError(exit.failed, 'the drill was ended before it was over; nothing of it is left', '');
    if (why === null && end.refused !== null) throw new CliError(exit.failed, end.refused.message, end.refused.next);
    return reportOf(view, plan, end, why);
  } finally {
    over.abort();
    await watching;
  }
}

/** Null also while nobody answers: a recovery would need the bus and the coordinator, too. */
async function clusterNeeds(session: Session, view: ClusterView): Promise<string | null> {
  const { clusters: [now] } = await session.ask('coordinator', 'get', { cluster: view.id }, z.object({ clusters: z.array(ClusterView) }), 2_000).catch(() => ({ clusters: [] }));
  return now === undefined ? null : givesWay(view, now);
}

async function unpin(session: Session, cluster: string, name: string): Promise<void> {
  try {
    await session.ask('coordinator', 'unpin', { cluster, name, by: session.by }, z.object({ name: z.string() }));
  } catch (error) {
    session.io.err(`virtcft: pin ${name} could not be taken away (${error instanceof Error ? error.message : String(error)}); "virtcft unpin ${name}" does it\n`);
  }
}

function tell(io: Io, message: DrillMessage): void {
  if (message.kind === 'progress') io.err(`drill: ${printable(message.text)}\n`);
  else if (message.kind === 'output') io.err(message.text);
  else if (message.kind === 'result') io.err(`drill: ${message.result.ok ? 'passed' : `failed: ${printable(message.result.reason ?? '')}`}\n`);
}

function reportOf(view: ClusterView, plan: DrillPlan, { result, tornDown }: DrillEnd, why: string | null): Report {
  const gave_way = why !== null && result === null;
  return {
    drill: plan.id, cluster: view.name, cut: plan.cut, ok: result?.ok ?? false, gave_way, reason: gave_way ? why : result?.reason ?? null, vms: result?.vms ?? [], fold_ms: result?.fold_ms ?? null, load_ms: result?.load_ms ?? null,
    check: result?.check ?? null, torn_down: [...tornDown, `pin ${plan.id}`],
  };
}

function describe({ drill: id, cluster, cut, ok, gave_way, reason, vms, fold_ms, load_ms, check, torn_down }: Report): string {
  return description([
    ['drill', id], ['cut', `${cutName(cut) ?? ''} of cluster ${cluster}`], ['result', ok ? 'passed' : gave_way ? `gave way: ${reason ?? ''}` : `failed: ${reason ?? ''}`],
    ['VMs', vms.map(({ vm, address, began, ended }) => `${vm}: ${began} in the cut, ${ended} at the end${address === null ? '' : `, ${address}`}`)],
    ['folded in', fold_ms === null ? null : duration(fold_ms)], ['loaded in', load_ms === null ? null : duration(load_ms)],
    ['check', check === null ? 'none, but that the guests run' : `${check.exit_code === null ? `ended by ${check.signal ?? '?'}` : `exit code ${check.exit_code}`}${check.timed_out ? ', out of time' : ''}, ${duration(check.check_ms)}`],
    ['torn down', torn_down],
  ]);
}
