import { readFileSync } from 'node:fs';
import { jsonSchemas } from '@virtcft/events';
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { apply, type ApplyOptions } from './commands/apply.js';
import { describable, describe, type Describable } from './commands/describe.js';
import { drill, type DrillOptions } from './commands/drill.js';
import { events, type EventsOptions } from './commands/events.js';
import { gc, type GcOptions } from './commands/gc.js';
import { get, kinds, type GetOptions, type Kind } from './commands/get.js';
import { keys } from './commands/keys.js';
import { operate } from './commands/operate.js';
import { pin, unpin } from './commands/pin.js';
import { rebuild, type RebuildOptions } from './commands/rebuild.js';
import { restore, type RestoreOptions } from './commands/restore.js';
import { secrets, type SecretsOptions } from './commands/secrets.js';
import { status } from './commands/status.js';
import { verify, type VerifyOptions } from './commands/verify.js';
import { exit, failureOf } from './exit.js';
import type { GlobalOptions, Io } from './session.js';

const exitCodes = `
Exit codes:
  0  done
  1  failed
  2  wrong usage or a wrong cluster file
  3  there is no such cluster, host, VM or cut
  4  the bus or a service does not answer
  5  refused: rights, a conflict, or a confirmation is missing
  6  a drill gave way to what the cluster needed`;

/** Runs one command line; returns its exit code. */
export async function run(args: readonly string[], io: Io): Promise<number> {
  try {
    await program(io).parseAsync(args, { from: 'user' });
    return exit.ok;
  } catch (error) {
    // Commander has said it already. Help and version end a command line too.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exit.ok : exit.usage;
    const failure = failureOf(error);
    const json = args.some((arg, i) => arg === '--output=json' || arg === '-ojson' || (arg === 'json' && (args[i - 1] === '--output' || args[i - 1] === '-o')));
    if (json) io.err(`${JSON.stringify({ error: { code: failure.code, message: failure.message, next: failure.next } })}\n`);
    else io.err(`virtcft: ${failure.message}\n${failure.next === '' ? '' : `  next: ${failure.next}\n`}`);
    return failure.exitCode;
  }
}

function program(io: Io): Command {
  const root = new Command('virtcft').description('keeps clusters of virtual machines alive through the loss of their hosts').exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: io.err }).showHelpAfterError('(see virtcft --help)').addHelpText('after', exitCodes)
    .option('--nats <urls>', 'the bus, one or more URLs (VIRTCFT_NATS_URL)', io.env['VIRTCFT_NATS_URL'] ?? 'nats://127.0.0.1:4222')
    .option('--user <name>', 'user on the bus (VIRTCFT_NATS_USER)')
    .option('--password-file <path>', 'file with its password (VIRTCFT_NATS_PASSWORD_FILE; VIRTCFT_NATS_PASSWORD holds it itself)')
    .addOption(new Option('-c, --cluster <name>', 'the cluster meant, by name or id; needed when there are several (VIRTCFT_CLUSTER)').default(io.env['VIRTCFT_CLUSTER']))
    .addOption(new Option('-o, --output <form>', 'for people or for machines').choices(['table', 'json']).default('table'));
  const globals = <T extends GlobalOptions>(command: Command): T => command.optsWithGlobals<T>();

  root.command('apply').description('create the cluster of a file, or change the one of its name')
    .requiredOption('-f, --file <path>', 'the cluster file, YAML or JSON; - for stdin').option('--wait', 'until it runs and its first cut is committed')
    .addOption(new Option('--timeout <seconds>', 'longest wait').argParser(positive).default(300)).option('--dry-run', 'only check the file')
    .action((_, command: Command) => apply(io, globals<ApplyOptions>(command)));
  root.command('status').description('how clusters are: state, generation, newest cut, alarms').argument('[cluster]')
    .action((name: string | undefined, _, command: Command) => status(io, globals(command), name));
  root.command('get').description('list clusters, hosts, VMs, epochs or cuts').addArgument(new Argument('<what>').choices(kinds))
    .addOption(new Option('--limit <n>', 'at most so many epochs or cuts').argParser(positive).default(20))
    .addOption(new Option('--since <time>', 'epochs of the last 30s, 10m, 2h, 1d').argParser(span).default(600_000, '10m'))
    .action((kind: Kind, _, command: Command) => get(io, globals<GetOptions>(command), kind));
  root.command('describe').description('all about one cluster, host, VM or cut').addArgument(new Argument('<what>').choices(describable)).argument('<name>')
    .action((kind: Describable, name: string, _, command: Command) => describe(io, globals(command), kind, name));
  root.command('events').description('decisions and reports, a line each; CloudEvents with --output json')
    .option('--follow', 'go on with what comes, until Ctrl-C').option('--decisions', 'no reports').option('--type <type>', 'only this type, or all that begin with it: epoch, recovery, epoch.aborted')
    .addOption(new Option('--since <time>', 'begin 30s, 10m, 2h, 1d ago').argParser(span).default(60_000, '1m'))
    .action((_, command: Command) => events(io, globals<EventsOptions>(command)));
  root.command('protect').description('take cuts and hold output from now on').argument('[cluster]')
    .action((name: string | undefined, _, command: Command) => operate(io, globals(command), 'protect', name));
  root.command('unprotect').description('let output pass and take no cuts; a lost host then loses its VMs').argument('[cluster]')
    .action((name: string | undefined, _, command: Command) => operate(io, globals(command), 'unprotect', name));
  root.command('restore').description('take a cluster back to a cut')
    .requiredOption('--cut <G-E>', 'generation and epoch, as get cuts shows them').option('--dry-run', 'only say what would be lost').option('--yes', 'do it')
    .action((_, command: Command) => restore(io, globals<RestoreOptions>(command)));
  root.command('rebuild').description('make the log of a cluster anew from the object store, when the bus has lost it')
    .option('--dry-run', 'only say what was found and what would be lost').option('--yes', 'do it')
    .action((_, command: Command) => rebuild(io, globals<RebuildOptions>(command)));
  root.command('verify').description('read all that a cut rests on, and name what is damaged or missing; the newest cut unless another is named')
    .option('--cut <G-E>', 'generation and epoch, as get cuts shows them').option('--all', 'everything that any cut rests on')
    .action((_, command: Command) => verify(io, globals<VerifyOptions>(command)));
  root.command('gc').description('remove from the store what no retained cut needs, after its grace; "retention" in the cluster file says what is retained')
    .option('--dry-run', 'only list it').option('--yes', 'do it')
    .action((_, command: Command) => gc(io, globals<GcOptions>(command)));
  root.command('drill').description('restore a cut into a network of its own on this machine, let a check look at it, and take it away; the cluster goes on')
    .option('--cut <G-E>', 'generation and epoch, as get cuts shows them; default: the newest').option('--check <command>', 'run by the shell where the guests can be reached; exit code 0 passes. Without it the guests need only run')
    .addOption(new Option('--timeout <seconds>', 'longest check').argParser(positive).default(300)).addOption(new Option('--settle <seconds>', 'without a check: how long the guests are watched').argParser(positive).default(5))
    .option('--address <IPv4>', 'the check\'s own on the guests\' network; default: a free one beside theirs').option('--keep', 'the guests go on after the check, until Ctrl-C')
    .option('--directory <folder>', 'where the images of the cut are made, as large as the guests\' memory and disks', '/var/lib/virtcft/drills')
    .addHelpText('after', '\nNeeds root, QEMU, memory for the guests, and VIRTCFT_STORE with its credentials and keys as the replica store has them (VIRTCFT_SWAP and VIRTCFT_QEMU as for an agent).')
    .action((_, command: Command) => drill(io, globals<DrillOptions>(command)));
  root.command('pin').description('hold a cut against garbage collection, whatever the retention says').argument('<name>').requiredOption('--cut <G-E>', 'generation and epoch, as get cuts shows them')
    .action((name: string, _, command: Command) => pin(io, globals(command), name));
  root.command('unpin').description('let go what a pin held').argument('<name>')
    .action((name: string, _, command: Command) => unpin(io, globals(command), name));
  root.command('keys').description('how many objects of the store are sealed with which key, and which keys are needed no more')
    .action((_, command: Command) => keys(io, globals(command)));
  root.command('stop').description('end all VMs of a cluster').argument('[cluster]').option('--yes', 'do it')
    .action((name: string | undefined, _, command: Command) => operate(io, globals(command), 'stop', name));
  root.command('secrets').description('make what is missing of an installation\'s secrets: users of the bus and the store, certificates, the tunnels\' secret, the store\'s keys')
    .requiredOption('--dir <folder>', 'where they are kept').requiredOption('--hosts <names...>', 'every host that has an agent').option('--rotate-store-key', 'a new current key for the object store; the others stay')
    .action((_, command: Command) => { secrets(io, globals<SecretsOptions>(command)); });
  root.command('schema').description('print the JSON Schema of the cluster file').action(() => io.out(`${JSON.stringify(jsonSchemas()['cluster.schema.json'], null, 2)}\n`));
  root.command('version').description('print the version').action(() => io.out(`${version()}\n`));
  return root;
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1_000_000) throw new InvalidArgumentError('give a whole number from 1 to 1000000');
  return value;
}

const units: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** 30s, 10m, 2h, 1d as milliseconds. */
function span(text: string): number {
  const match = /^([0-9]{1,6})([smhd])$/.exec(text);
  if (!match) throw new InvalidArgumentError('write 30s, 10m, 2h or 1d');
  return Number(match[1]) * (units[match[2] ?? ''] ?? 0);
}

function version(): string {
  return (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;
}
