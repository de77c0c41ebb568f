import type { Decision, Report, ReportData, SegmentRef } from '@virtcft/events';
import type { ClusterState } from '../cluster/state.js';
import { limits } from '../limits.js';

/** A host's durable part of an epoch. Of an aborted one too: it can be the parent of the next (R2). */
export interface StoredPack {
  readonly host: string;
  readonly agent: string;
  readonly generation: number;
  readonly epoch: number;
  readonly pack: ReportData<'segments.stored'>['pack'];
  readonly segments: readonly SegmentRef[];
}

/** What the reports say about the epochs since the tip. With the cluster's state it is all that the epoch decider knows. */
export interface EpochLedger {
  readonly packs: readonly StoredPack[];
  /** Who stands still at a two-phase barrier (R4a). */
  readonly reached: readonly { readonly host: string; readonly agent: string; readonly generation: number; readonly epoch: number }[];
  readonly failures: readonly { readonly host: string; readonly agent: string; readonly generation: number; readonly epoch: number; readonly reason: string; readonly waited: boolean }[];
  /** VMs that run, with the agent that said so. */
  readonly started: readonly { readonly vm: string; readonly agent: string; readonly generation: number }[];
  /** VMs whose base is stored, with the agent that said so (R20). */
  readonly seeded: readonly { readonly vm: string; readonly agent: string; readonly generation: number; readonly image: string | null }[];
  /** Hash of the tip's segment of each VM; null while the tip's manifest was not read yet. */
  readonly tipSegments: { readonly cut: string; readonly segments: Readonly<Record<string, string>> } | null;
  /** When each open barrier was published. */
  readonly opened_ms: Readonly<Record<number, number>>;
  readonly lastOpened_ms: number | null;
  readonly lastCommitted_ms: number;
  /** Smoothed barrier to commit. */
  readonly commit_ms: number;
}

export const emptyLedger: EpochLedger = { packs: [], reached: [], failures: [], started: [], seeded: [], tipSegments: null, opened_ms: {}, lastOpened_ms: null, lastCommitted_ms: 0, commit_ms: 0 };

/** Since when an open epoch could be stored: a host stores one after the other, so what the one before it took does not count. */
export const storableSince_ms = (ledger: EpochLedger, epoch: number, now_ms: number): number => Math.max(ledger.opened_ms[epoch] ?? now_ms, ledger.lastCommitted_ms);

/** Void for every decider from now on: of an older generation, or not after the tip. */
const past = (state: ClusterState, of: { generation: number; epoch: number }): boolean =>
  of.generation < state.generation || (of.generation === state.generation && state.tip?.generation === of.generation && of.epoch <= state.tip.epoch);

const forget = (ledger: EpochLedger, state: ClusterState): EpochLedger => ({
  ...ledger,
  packs: ledger.packs.filter((pack) => !past(state, pack)),
  reached: ledger.reached.filter((reach) => !past(state, reach)),
  failures: ledger.failures.filter((failure) => !past(state, failure)),
  started: ledger.started.filter((start) => start.generation >= state.generation),
  seeded: ledger.seeded.filter((each) => each.generation >= state.generation),
  opened_ms: Object.fromEntries(state.open.flatMap(({ epoch }) => (ledger.opened_ms[epoch] === undefined ? [] : [[epoch, ledger.opened_ms[epoch]]]))),
});

/** After `state` took `decision` at `now_ms`. */
export const noteDecision = (ledger: EpochLedger, state: ClusterState, decision: Decision, now_ms: number): EpochLedger => {
  switch (decision.type) {
    case 'epoch.opened':
      return { ...ledger, opened_ms: { ...ledger.opened_ms, [decision.data.epoch]: now_ms }, lastOpened_ms: now_ms };
    case 'epoch.committed': {
      const opened = ledger.opened_ms[decision.data.epoch];
      const commit_ms = opened === undefined ? ledger.commit_ms : ledger.commit_ms + limits.commit_smoothing * (now_ms - opened - ledger.commit_ms);
      return forget({ ...ledger, commit_ms, lastCommitted_ms: now_ms }, state);
    }
    case 'epoch.aborted':
    case 'generation.raised':
    case 'protection.disabled':
      return forget(ledger, state);
    case 'cluster.started':
      return forget({ ...ledger, tipSegments: null, lastOpened_ms: null }, state);
    case 'recovery.completed':
      return { ...ledger, lastOpened_ms: null };
    default:
      return ledger;
  }
};

/** A report came; of another generation than the one that runs it is kept only when newer. Idempotent. */
export const noteReport = (ledger: EpochLedger, state: ClusterState, report: Report): EpochLedger => {
  switch (report.type) {
    case 'segments.stored': {
      const { host, agent, generation, epoch, pack, segments } = report.data;
      if (past(state, report.data) || ledger.packs.length >= limits.packs) return ledger;
      // A part is encoded once: one pack of a life for an epoch.
      if (ledger.packs.some((known) => known.agent === agent && known.epoch === epoch && known.generation === generation)) return ledger;
      return { ...ledger, packs: [...ledger.packs, { host, agent, generation, epoch, pack, segments }] };
    }
    case 'barrier.reached': {
      const { host, agent, generation, epoch } = report.data;
      if (past(state, report.data) || ledger.reached.some((known) => known.agent === agent && known.epoch === epoch && known.generation === generation)) return ledger;
      return { ...ledger, reached: [...ledger.reached, { host, agent, generation, epoch }].slice(-limits.packs) };
    }
    case 'capture.failed': {
      const { host, agent, generation, epoch, reason, waited = false } = report.data;
      if (past(state, report.data) || ledger.failures.some((known) => known.host === host && known.epoch === epoch && known.generation === generation)) return ledger;
      return { ...ledger, failures: [...ledger.failures, { host, agent, generation, epoch, reason, waited }].slice(-limits.packs) };
    }
    case 'vms.started': {
      const { agent, generation, vms } = report.data;
      if (generation < state.generation) return ledger;
      const fresh = vms.filter((vm) => !ledger.started.some((known) => known.vm === vm && known.agent === agent && known.generation === generation));
      return { ...ledger, started: [...ledger.started, ...fresh.map((vm) => ({ vm, agent, generation }))] };
    }
    case 'vm.seeded': {
      const { agent, generation, vm, image } = report.data;
      if (generation < state.generation || ledger.seeded.some((known) => known.vm === vm && known.agent === agent && known.generation === generation)) return ledger;
      return { ...ledger, seeded: [...ledger.seeded, { vm, agent, generation, image }].slice(-limits.packs) };
    }
    default:
      return ledger;
  }
};

/** The tip's manifest was written or read: its VMs' segments are the parents that a chain may end in. */
export const noteTip = (ledger: EpochLedger, cut: string, segments: Readonly<Record<string, string>>): EpochLedger => ({ ...ledger, tipSegments: { cut, segments } });
