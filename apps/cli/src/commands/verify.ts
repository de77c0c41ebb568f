import { Listr } from 'listr2';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { CliError, exit } from '../exit.js';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { description, table } from '../table.js';
import { parseCut } from './restore.js';

export interface VerifyOptions extends GlobalOptions { readonly cut?: string; readonly all?: boolean }

const Verification = z.object({
  id: z.uuid(), state: z.enum(['running', 'done', 'failed']), detail: z.string(), cuts: z.number(), cuts_total: z.number(), objects: z.number(), read_bytes: z.number(),
  faults: z.array(z.object({ key: z.string(), part: z.string(), reason: z.string() })), faults_total: z.number(), broken: z.array(z.string()), broken_total: z.number(),
  digests: z.record(z.string(), z.string()).nullable(),
});
type Verification = z.infer<typeof Verification>;

const poll_ms = 250;

/** Has the replica store read all that a cut (or every cut) rests on. It has the right to read the store, and an operator needs none. */
export async function verify(io: Io, options: VerifyOptions): Promise<void> {
  if (options.all && options.cut !== undefined) throw new CliError(exit.usage, '--all verifies every cut', 'give --cut or --all');
  const cut = options.cut === undefined ? null : parseCut(options.cut);
  await Session.run(io, options, async (session) => {
    const view = await session.cluster();
    const started = await session.ask('replica-store', 'verify', { cluster: view.id, cut, all: options.all ?? false }, Verification);
    const result = await untilDone(session, started);
    if (result.state === 'failed') throw new CliError(exit.unavailable, `the store could not be read to the end: ${result.detail}`, 'see that the object store answers, then verify again');
    session.show({ cluster: view.name, ...result }, () => describe(view.name, options.all ? 'all cuts' : options.cut ?? 'the newest cut', result));
    if (result.faults_total > 0) throw new CliError(exit.failed, `${result.faults_total} faults; ${result.broken_total} of ${result.cuts} cuts cannot be restored`, 'put the named objects back from a copy of the store; cuts that are not broken can be restored');
  });
}

async function untilDone(session: Session, started: Verification): Promise<Verification> {
  const { io } = session;
  let status = started;
  const task = async (_: unknown, shown: { title: string }): Promise<void> => {
    while (status.state === 'running') {
      await sleep(poll_ms);
      if (io.signal.aborted) throw new CliError(exit.failed, 'stopped waiting; the replica store goes on to the end', '');
      status = await session.ask('replica-store', 'verification', { id: started.id }, Verification);
      shown.title = progress(status);
    }
  };
  const renderer = session.options.output === 'json' || !io.terminal ? 'silent' : 'default';
  await new Listr([{ title: 'reading', task }], { renderer: renderer as 'silent', exitOnError: true, registerSignalListeners: false }).run();
  return status;
}

const mib = (bytes: number): string => `${(bytes / 1_048_576).toFixed(1)} MiB`;

const progress = ({ cuts, cuts_total, objects, read_bytes, faults_total }: Verification): string =>
  `${cuts} of ${cuts_total} cuts, ${objects} objects, ${mib(read_bytes)}${faults_total === 0 ? '' : `, ${faults_total} faults`}`;

function describe(cluster: string, what: string, result: Verification): string {
  const { faults, faults_total, broken, digests } = result;
  const head = description([
    ['cluster', cluster], ['verified', what], ['read', progress(result)], ['folded', digests === null ? 'no' : Object.keys(digests)], ['cannot be restored', broken],
  ]);
  if (faults_total === 0) return `${head}nothing is wrong\n`;
  return `${head}${table(faults.map(({ key, part, reason }) => ({ part, reason, key })), '')}${faults_total > faults.length ? `and ${faults_total - faults.length} more\n` : ''}`;
}
