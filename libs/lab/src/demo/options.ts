import { Barrier } from '@virtcft/events';
import { Command, InvalidArgumentError, Option } from 'commander';
import { failureKinds, phases, type FailureKind, type Phase } from '../report/demo-report.js';

export interface DemoOptions {
  readonly seed: number;
  readonly interval_ms: number;
  readonly barrier: Barrier;
  readonly kills: number;
  /** `dir`: a folder; `minio`: a MinIO server of the lab's own; or the URL of a bucket of yours. */
  readonly store: string;
  readonly load: string;
  readonly keep: boolean;
  readonly json: boolean;
  /** What to aim the kills at instead of what the seed chooses. */
  readonly phases: readonly Phase[] | null;
  /** What happens to hosts; null: the seed chooses for each. */
  readonly failure: FailureKind | null;
  /** Of what hosts send each other over their tunnels. */
  readonly tunnel_delay_ms: number;
  readonly tunnel_loss_percent: number;
  /** Decisions reach one host so much later than the others. */
  readonly barrier_skew_ms: number;
  /** Lab only: an agent that breaks a rule on purpose, which the oracles must find. */
  readonly mutant: string | null;
}

export const mutants = ['release-before-commit', 'survivors-not-rolled-back', 'aborted-layer-dropped', 'dirty-block-skipped'] as const;

/** Throws CommanderError for wrong arguments and for --help, after writing what to say. */
export function parseDemoOptions(args: readonly string[]): DemoOptions {
  const command = new Command('npm run demo --')
    .description('A protected cluster of real Linux guests that loses hosts and recovers by itself. Exit 0: every invariant was checked often enough and held. 1: not so, or it broke off. 2: wrong arguments. 130: interrupted.')
    .option('--seed <n>', 'chooses the hosts that die, the moments, and all else that is left to chance', whole(0, 0xffff_ffff), 1)
    .option('--interval <ms>', 'time from one cut to the next', whole(10, 60_000), 100)
    .addOption(new Option('--barrier <mode>', 'coloured: each host cuts on its own; two-phase: all stand still first').choices(Barrier.options).default('coloured'))
    .option('--kills <n>', 'how many times a host is destroyed', whole(0, 1000), 2)
    .option('--store <where>', 'dir (a folder), minio (a MinIO server of the demo\'s own, with TLS and a user for each service), or s3+http://host:port/bucket', storeName, 'dir')
    .option('--load <name>', 'a file of bench/loads', 'light')
    .option('--keep', 'leave the cluster running at the end, until Ctrl-C', false)
    .option('--json', 'the report on standard output, all else on standard error', false)
    .addOption(new Option('--phases <list>', `what the cluster is doing when hosts die, instead of what the seed chooses: ${phases.join(', ')}`).argParser(phaseList))
    .addOption(new Option('--failure <kind>', 'what happens to a host: kill (power cut), freeze (all its processes stand still for ten seconds, then wake), or any (the seed chooses)').choices([...failureKinds, 'any']).default('kill'))
    .option('--tunnel-delay <ms>', 'of every datagram between hosts', whole(0, 1_000), 0)
    .option('--tunnel-loss <percent>', 'of the datagrams between hosts', whole(0, 50), 0)
    .option('--barrier-skew <ms>', 'decisions reach one host so much later than the others', whole(0, 1_000), 0)
    .addOption(new Option('--mutant <name>', 'an agent that breaks a rule on purpose; the verdict must be red').choices([...mutants]))
    .exitOverride();
  command.parse([...args], { from: 'user' });
  const given = command.opts<{ seed: number; interval: number; barrier: Barrier; kills: number; store: string; load: string; keep: boolean; json: boolean; phases?: Phase[]; mutant?: string; failure: FailureKind | 'any'; tunnelDelay: number; tunnelLoss: number; barrierSkew: number }>();
  return {
    seed: given.seed, interval_ms: given.interval, barrier: given.barrier, kills: given.kills, store: given.store, load: given.load, keep: given.keep, json: given.json,
    phases: given.phases ?? null, mutant: given.mutant ?? null, failure: given.failure === 'any' ? null : given.failure,
    tunnel_delay_ms: given.tunnelDelay, tunnel_loss_percent: given.tunnelLoss, barrier_skew_ms: given.barrierSkew,
  };
}

export function whole(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) throw new InvalidArgumentError(`Give a whole number from ${min} to ${max}.`);
    return value;
  };
}

/** Throws InvalidArgumentError. */
export function storeName(text: string): string {
  if (text === 'dir' || text === 'minio' || /^s3\+https?:\/\/./.test(text)) return text;
  throw new InvalidArgumentError('Give dir, minio, or the address of a bucket: s3+http://host:port/bucket.');
}

export function phaseList(text: string): Phase[] {
  return text.split(',').map((word) => {
    const phase = phases.find((each) => each === word.trim());
    if (phase === undefined) throw new InvalidArgumentError(`"${word}" is no phase; use ${phases.join(', ')}.`);
    return phase;
  });
}
