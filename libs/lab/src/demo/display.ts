import { distribution } from '../report/distribution.js';
import type { Failure, Invariant } from '../report/demo-report.js';
import { all, of, type Fact } from './facts.js';

/** Where lines for people go: standard output, or standard error where that is for a report. */
export interface Display {
  line(text: string): void;
  /** The state of things, replaced by the next one on a terminal, printed now and then elsewhere. */
  live(text: string): void;
}

const LIVE_EVERY_MS = 5_000; // without a terminal

export function openDisplay(report: boolean, out: NodeJS.WriteStream = report ? process.stderr : process.stdout): Display {
  let pending = false;
  let last_ms = 0;
  return {
    line(text) {
      out.write(`${pending ? '\r\u001b[K' : ''}${text}\n`);
      pending = false;
    },
    live(text) {
      if (out.isTTY) {
        out.write(`\r\u001b[K${text.slice(0, out.columns - 1)}`);
        pending = true;
      } else if (Date.now() - last_ms >= LIVE_EVERY_MS) {
        last_ms = Date.now();
        out.write(`${text}\n`);
      }
    },
  };
}

/** One line about the epochs of the last seconds. */
export function epochLine(facts: readonly Fact[], acked: number): string {
  const committed = all(facts, 'epoch.committed');
  const newest = committed.at(-1)?.data;
  const stored = all(facts.slice(-400), 'segments.stored');
  const pauses = distribution(stored.filter(({ data }) => data.verified.checks === 0).flatMap(({ data }) => data.pauses.map(({ pause_ms }) => pause_ms)));
  const commits = distribution(all(facts.slice(-400), 'output.released').map(({ data }) => data.commit_ms));
  const ms = (value: number | null): string => value === null ? '-' : `${value.toFixed(1)} ms`;
  return `           cut ${newest === undefined ? '-' : `${newest.generation}-${newest.epoch}`}  committed ${committed.length}  pause ${ms(pauses.p50)}  commit ${ms(commits.p50)}  writes acknowledged ${acked}`;
}

/** What a person wants to read of one fact, or null. */
export function story(fact: Fact): string | null {
  const suspected = of(fact, 'host.suspected');
  if (suspected !== null) return `failover: ${suspected.host} is silent for ${suspected.silent_ms.toFixed(0)} ms${suspected.witnesses.length === 0 ? '' : `, and so say ${suspected.witnesses.join(', ')}`}`;
  const raising = of(fact, 'generation.raising');
  if (raising !== null) return `generation ${raising.generation} is asked for (${raising.cause.kind}): nothing older commits any more`;
  const raised = of(fact, 'generation.raised');
  if (raised !== null) return `generation ${raised.generation} goes on from cut ${raised.basis.generation}-${raised.basis.epoch}`;
  const planned = of(fact, 'recovery.planned');
  if (planned !== null) return `plan: ${planned.moves.length === 0 ? 'no VM moves' : planned.moves.map(({ vm, from, to }) => `${vm} ${from} -> ${to}`).join(', ')}; the others roll back where they are`;
  const stopped = of(fact, 'recovery.stopped');
  if (stopped !== null) return `${stopped.host} has stopped its VMs of the old generation`;
  const loaded = of(fact, 'recovery.loaded');
  if (loaded !== null && loaded.vms.length > 0) return `${loaded.host} has loaded ${loaded.vms.join(', ')}`;
  const running = of(fact, 'recovery.running');
  if (running !== null && running.vms.length > 0) return `${running.host} runs ${running.vms.join(', ')}`;
  if (fact.fact.type === 'recovery.completed') return 'all VMs run again';
  const failed = of(fact, 'recovery.failed') ?? of(fact, 'capture.failed');
  if (failed !== null) return `${failed.host}: ${fact.fact.type}: ${failed.reason}`;
  const vm = of(fact, 'vm.failed');
  if (vm !== null) return `${vm.host}: VM ${vm.vm} failed: ${vm.reason}`;
  const halted = of(fact, 'cluster.halted');
  if (halted !== null) return `the cluster halts (${halted.reason}): ${halted.detail}`;
  const alarm = of(fact, 'alarm.raised');
  if (alarm !== null) return `alarm ${alarm.alarm}: ${alarm.detail}`;
  const cleared = of(fact, 'alarm.cleared');
  if (cleared !== null) return `alarm ${cleared.alarm} is over`;
  const admitted = of(fact, 'host.admitted');
  if (admitted !== null) return `${admitted.host} is admitted, empty`;
  const lost = of(fact, 'host.lost');
  if (lost !== null) return `${lost.host} takes part no more: ${lost.reason}`;
  return null;
}

export function failureLines({ host, kind, phase, aimed, detect_ms, fence_ms, load_ms, total_ms, first_answer_ms, cut, generation }: Failure): string[] {
  return [
    `  ${host} ${kind === 'freeze' ? 'stood still' : 'died'} while ${phase}${aimed === phase ? '' : ` (aimed at ${aimed})`}: back to cut ${cut.generation}-${cut.epoch}, generation ${generation}`,
    `    detected ${ms(detect_ms)}, old VMs stopped ${ms(fence_ms)}, loaded ${ms(load_ms)}, all run ${ms(total_ms)}, first answer on a new connection ${first_answer_ms === null ? 'never' : ms(first_answer_ms)}`,
  ];
}

export function verdictLines(invariants: readonly Invariant[]): string[] {
  const name = Math.max(...invariants.map((each) => each.name.length));
  return invariants.flatMap((each) => {
    const held = each.violations === 0 && each.checks >= each.checks_min;
    const why = each.violations > 0 ? `${each.violations} violations` : each.checks < each.checks_min ? `checked only ${each.checks} times, ${each.checks_min} are needed` : `${each.checks} checks`;
    return [`  ${held ? 'holds ' : 'BROKEN'} ${each.name.padEnd(name)}  ${each.statement} (${why})`, ...(held ? [] : each.detail.map((detail) => `           ${detail}`))];
  });
}

const ms = (value: number): string => `${value.toFixed(0)} ms`;
