import type { ClusterSpec } from '@virtcft/events';
import { Listr } from 'listr2';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { readClusterFile } from '../cluster-file.js';
import { CliError, exit } from '../exit.js';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { ClusterView, protection } from '../view.js';

export interface ApplyOptions extends GlobalOptions { readonly file: string; readonly wait?: boolean; readonly timeout: number; readonly dryRun?: boolean }

const Applied = z.object({ cluster: z.uuid(), name: z.string(), created: z.boolean(), changed: z.array(z.string()), status: ClusterView });

/** Creates the cluster of a file, or changes the one of its name. */
export async function apply(io: Io, options: ApplyOptions): Promise<void> {
  const spec = readClusterFile(options.file);
  if (options.dryRun) {
    io.out(options.output === 'json' ? `${JSON.stringify(spec, null, 2)}\n` : `${options.file} is a correct cluster file: ${summary(spec)}\n`);
    return;
  }
  await Session.run(io, options, async (session) => {
    const applied = await session.ask('coordinator', 'apply', { spec, by: session.by }, Applied, 30_000);
    const done = applied.created ? 'created' : applied.changed.length === 0 ? 'unchanged' : `changed: ${applied.changed.join(', ')}`;
    const status = options.wait ? await untilReady(session, applied.cluster, spec, options.timeout) : applied.status;
    session.show({ ...applied, status }, () => `cluster ${applied.name} ${done}; ${status.stage}, protection ${protection(status)}${status.waits_for === null ? '' : `; waits for ${status.waits_for}`}\n`);
  });
}

const summary = (spec: ClusterSpec): string => `cluster ${spec.name}, ${spec.vms.length} VMs on ${spec.hosts.length} hosts, a cut every ${spec.interval_ms} ms`;

/** Until it runs and, when it should be protected, until its first cut is committed. */
async function untilReady(session: Session, id: string, spec: ClusterSpec, timeout_s: number): Promise<ClusterView> {
  const { io } = session;
  const end = performance.now() + timeout_s * 1_000;
  const until = async (ready: (view: ClusterView) => boolean, say: (view: ClusterView) => void): Promise<ClusterView> => {
    for (;;) {
      const view = await session.cluster(id);
      if (ready(view)) return view;
      say(view);
      if (view.halted !== null) throw new CliError(exit.failed, `cluster ${view.name} is halted: ${view.halted.detail}`, 'see "virtcft status"');
      if (io.signal.aborted) throw new CliError(exit.failed, 'stopped waiting; what was applied goes on', 'see "virtcft status"');
      if (performance.now() > end) {
        throw new CliError(exit.failed, `cluster ${view.name} is ${view.stage} after ${timeout_s} s${view.waits_for === null ? '' : `: it waits for ${view.waits_for}`}`, 'it goes on by itself; see "virtcft status"');
      }
      await sleep(200);
    }
  };
  let view: ClusterView | undefined;
  const step = (title: string, ready: (view: ClusterView) => boolean) => ({
    title,
    task: async (_: unknown, task: { title: string }): Promise<void> => {
      view = await until(ready, ({ waits_for }) => { task.title = waits_for === null ? title : `${title} (waits for ${waits_for})`; });
      task.title = title;
    },
  });
  const steps = [step('started', ({ stage }) => stage !== 'waiting'), step('running', ({ stage }) => stage === 'running')];
  if (spec.protect) steps.push(step('first cut committed', ({ tip }) => tip !== null));
  const renderer = session.options.output === 'json' ? 'silent' : io.terminal ? 'default' : 'simple';
  await new Listr(steps, { renderer: renderer as 'simple', exitOnError: true, registerSignalListeners: false }).run();
  if (!view) throw new CliError(exit.failed, 'nothing was waited for');
  return view;
}
