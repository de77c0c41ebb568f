import type { CutRef, DecisionData } from '@virtcft/events';
import { cutMembersOf, type Cause, type ClusterState, type OpenEpoch } from '../cluster/state.js';
import { limits } from '../limits.js';
import { decideJoin } from '../membership/join.js';
import { canMoveAway } from '../recovery/placement.js';
import { decideSeal, failuresOf, missedBarrier } from './barrier.js';
import { collect, type CutContent } from './content.js';
import { storableSince_ms, type EpochLedger } from './ledger.js';

export type EpochStep =
  | { readonly kind: 'open'; readonly data: DecisionData<'epoch.opened'> }
  /** A base of this VM is stored: it is in the cuts from the next barrier on (R20). */
  | { readonly kind: 'join'; readonly data: DecisionData<'vm.joined'> }
  /** All stand still at a two-phase barrier (R4a). */
  | { readonly kind: 'seal'; readonly data: DecisionData<'epoch.sealed'> }
  /** Put the manifest, read it back, then append `epoch.committed` (R12). */
  | { readonly kind: 'commit'; readonly content: CutContent }
  | { readonly kind: 'abort'; readonly data: DecisionData<'epoch.aborted'> }
  /** R22: the straggler is evicted by a recovery. */
  | { readonly kind: 'evict'; readonly cause: Cause }
  /** R22: nobody could take its VMs, so protection ends, said aloud. */
  | { readonly kind: 'suspend'; readonly by: string }
  /** Read the tip's manifest and `noteTip` it. */
  | { readonly kind: 'learn'; readonly cut: CutRef }
  /** Nothing to do before `until_ms` or the next report or decision. */
  | { readonly kind: 'wait'; readonly until_ms: number | null };

const wait = (until_ms: number | null): EpochStep => ({ kind: 'wait', until_ms });

/**
 * The next barrier: an interval after the last one. A host stores one epoch after the other, so while one still stores another would only wait behind it, and its
 * output with it: then not before that is clearly late, and the window bounds what a store that stands still leaves open (R24).
 */
export const nextBarrier_ms = (ledger: EpochLedger, interval_ms: number, storing: boolean): number =>
  ledger.lastOpened_ms === null ? 0 : ledger.lastOpened_ms + Math.max(interval_ms, storing ? limits.late_commits * ledger.commit_ms : 0);

/** Whether a member's part of an open epoch is not known to be stored. */
const isStoring = (state: ClusterState, { packs }: EpochLedger): boolean =>
  state.open.some(({ epoch, members }) => members.some(({ agent }) => !packs.some((pack) => pack.agent === agent && pack.epoch === epoch && pack.generation === state.generation)));

/**
 * How long an epoch may stay open. Before the first cut every VM is stored in full, which takes as long as its memory is large (R20); to
 * reach a barrier takes no longer for that.
 */
export const deadlineOf_ms = (state: ClusterState, open?: OpenEpoch): number =>
  (state.spec?.epoch_deadline_ms ?? 0) * (state.tip === null && open?.sealed !== false ? limits.first_cut_deadlines : 1);

/** To reach a barrier nobody waits for what is stored before it. */
const waitedFrom_ms = (ledger: EpochLedger, { epoch, sealed }: OpenEpoch, now_ms: number): number =>
  sealed ? storableSince_ms(ledger, epoch, now_ms) : ledger.opened_ms[epoch] ?? now_ms;

/** A VM has a state to capture once its host said that it runs, or once a cut of this generation or a recovery proved it. */
const allStarted = (state: ClusterState, ledger: EpochLedger, members: DecisionData<'epoch.opened'>['members']): boolean => {
  if (state.tip !== null) return true;
  return members.every(({ agent, vms }) => vms.every((vm) =>
    ledger.started.some((start) => start.vm === vm && start.agent === agent && start.generation === state.generation)));
};

/** A host that a frame of a newer colour told to cut (R5) may not have read yet that a VM of it had joined (R20): such a part never becomes whole. */
const withoutVm = (state: ClusterState, ledger: EpochLedger, open: OpenEpoch): { host: string; vm: string } | null => {
  for (const { host, agent, vms } of open.members) {
    const part = ledger.packs.find((pack) => pack.agent === agent && pack.epoch === open.epoch && pack.generation === state.generation);
    const vm = part === undefined ? undefined : vms.find((each) => !part.segments.some((segment) => segment.vm === each));
    if (vm !== undefined) return { host, vm };
  }
  return null;
};

const abortReason = (state: ClusterState, ledger: EpochLedger, open: OpenEpoch, missing: readonly string[], now_ms: number): DecisionData<'epoch.aborted'> | null => {
  const base = { generation: state.generation, epoch: open.epoch };
  const failed = failuresOf(state, ledger, open);
  const first = failed.find(({ waited }) => !waited) ?? failed[0];
  if (first !== undefined) return { ...base, reason: `${first.host} could not capture: ${first.reason}`.slice(0, 500), missing: missedBarrier(state, ledger, open) };
  const early = withoutVm(state, ledger, open);
  if (early !== null) return { ...base, reason: `${early.host} cut before it knew that "${early.vm}" had joined`, missing: [early.host] };
  const deadline_ms = deadlineOf_ms(state, open);
  if (now_ms - waitedFrom_ms(ledger, open, now_ms) < deadline_ms) return null;
  if (!open.sealed) return { ...base, reason: `its barrier was not reached within ${deadline_ms} ms`, missing: missedBarrier(state, ledger, open) };
  // Nobody could store: that is the store's outage, not a straggler. The window bounds what waits, and it commits in order on return (R24).
  if (missing.length === open.members.length) return null;
  return { ...base, reason: `not stored within ${deadline_ms} ms`, missing: [...missing] };
};

/** A host missing from too many epochs in a row is decided on, never waited for without end (R22). */
const straggler = (state: ClusterState): EpochStep | null => {
  const host = Object.keys(state.strikes).filter((name) => (state.strikes[name] ?? 0) >= limits.straggler_aborts).sort()[0];
  const known = host === undefined ? undefined : state.hosts[host];
  if (known === undefined) return null;
  const detail = `${known.host} missed ${limits.straggler_aborts} epochs in a row`;
  if (state.tip === null || !canMoveAway(state, known.host)) return { kind: 'suspend', by: `coordinator: ${detail}, and no host has room for its VMs` };
  return { kind: 'evict', cause: { kind: 'straggler', lost: [{ host: known.host, agent: known.agent }], vms: [], detail, cut: null } };
};

/**
 * The coordinator's next step about epochs. Strictly in order: only the oldest open one is decided (R12). `writing`: the epoch whose manifest is
 * being written; nothing is decided about it meanwhile, and barriers go on.
 */
export const decideEpochs = (cluster: string, state: ClusterState, ledger: EpochLedger, now_ms: number, writing: number | null = null): EpochStep => {
  const spec = state.spec;
  if (spec === null || state.stage !== 'running' || !state.protected) return wait(null);
  // Before all else: guests stand still for it.
  const seal = decideSeal(state, ledger);
  if (seal !== null) return { kind: 'seal', data: seal };
  if (state.tip !== null && ledger.tipSegments?.cut !== state.tip.hash) return { kind: 'learn', cut: state.tip };
  const late = straggler(state);
  if (late !== null) return late;

  const oldest = state.open[0];
  let next_ms: number | null = null;
  if (oldest !== undefined && oldest.epoch !== writing) {
    const collected = collect(cluster, state, ledger, oldest);
    if (collected.complete) return { kind: 'commit', content: collected.content };
    const abort = abortReason(state, ledger, oldest, collected.missing, now_ms);
    if (abort !== null) return { kind: 'abort', data: abort };
    const deadline_ms = waitedFrom_ms(ledger, oldest, now_ms) + deadlineOf_ms(state, oldest);
    if (deadline_ms > now_ms) next_ms = deadline_ms;
  }
  // One barrier at a time: the next would find hosts that still stand at this one.
  if (state.open.length >= spec.window || state.open.some(({ sealed }) => !sealed)) return wait(next_ms);
  const joining = decideJoin(state, ledger);
  if (joining !== null) return { kind: 'join', data: joining };
  const members = cutMembersOf(state);
  if (members.length === 0 || !allStarted(state, ledger, members)) return wait(next_ms);
  const barrier_ms = nextBarrier_ms(ledger, spec.interval_ms, isStoring(state, ledger));
  if (now_ms < barrier_ms) return wait(next_ms === null ? barrier_ms : Math.min(next_ms, barrier_ms));
  return { kind: 'open', data: { generation: state.generation, epoch: state.epoch, members, ...(spec.barrier === 'two-phase' ? { barrier: spec.barrier } : {}) } };
};
