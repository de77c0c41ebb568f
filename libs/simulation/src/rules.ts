import { decideEpochs, decideRaise, decideRebuild, evolve, heard, hearColour, loopback, noteReport, react, reactTo, sealOverdue } from '@virtcft/protocol';
import type { Barrier } from '@virtcft/events';
import { logLoss, type FaultKind } from './faults.js';

/** Everything a mutant may break: the deciders themselves, and the rules that the models of hosts and shells follow. */
export interface Rules {
  readonly evolve: typeof evolve;
  readonly decideEpochs: typeof decideEpochs;
  readonly decideRaise: typeof decideRaise;
  readonly decideRebuild: typeof decideRebuild;
  readonly noteReport: typeof noteReport;
  readonly reactTo: typeof reactTo;
  readonly react: typeof react;
  readonly hearColour: typeof hearColour;
  readonly sealOverdue: typeof sealOverdue;
  readonly loopback: typeof loopback;
  readonly heard: typeof heard;
  /** R12, R13: an append that met another decision is decided anew; otherwise it is only sent again. */
  readonly commitDecidesAnew: boolean;
  /** R13: a decision is appended behind the log that it was made on; otherwise behind the log as it is when all was awaited. */
  readonly appendWhereDecided: boolean;
  /** R1: a survivor goes back to the basis; otherwise it keeps what it has. */
  readonly survivorsRollBack: boolean;
  /** R1: the layer of an aborted epoch stays, and its upload goes on; otherwise both are dropped. */
  readonly abortKeepsLayer: boolean;
  /** R2: the first parent after a recovery is the restored cut's segment; otherwise the last one stored. */
  readonly firstParentIsBasis: boolean;
  /** R3: a restarted agent is a new, empty life; otherwise it goes on with the guests and the tracking that it finds. */
  readonly restartIsEmpty: boolean;
  /** R8: the colour that output is tagged with, from the sender's running epoch. */
  readonly outputTag: (colour: number) => number;
  /** R8: output leaves on the commit; otherwise when the host's own part is stored. */
  readonly releaseOnCommit: boolean;
  /** R11: a host that hears nobody keeps its gate closed. */
  readonly gateStaysClosed: boolean;
  /** R16: frames of another generation are dropped. */
  readonly fenceFrames: boolean;
  /** R6: an old frame is logged. */
  readonly logLate: boolean;
  /** R6: an old frame is logged to every open cut between its colour and the receiver's. */
  readonly logToEveryCut: boolean;
  /** R5: a frame of a newer colour is held until the own cut. */
  readonly holdNewer: boolean;
  /** R20: what a guest writes while its base is made is tracked. */
  readonly seedTracks: boolean;
}

export const soundRules: Rules = {
  evolve, decideEpochs, decideRaise, decideRebuild, noteReport, reactTo, react, hearColour, sealOverdue, loopback, heard,
  commitDecidesAnew: true, appendWhereDecided: true, survivorsRollBack: true, abortKeepsLayer: true, firstParentIsBasis: true, restartIsEmpty: true, outputTag: (colour) => colour,
  releaseOnCommit: true, gateStaysClosed: true, fenceFrames: true, logLate: true, logToEveryCut: true, holdNewer: true, seedTracks: true,
};

export interface Mutant {
  readonly name: string;
  /** The rule of the protocol that it breaks. */
  readonly breaks: string;
  readonly rules: Rules;
  /** Where the default faults rarely meet it: those that do. */
  readonly faults?: number;
  readonly kinds?: readonly FaultKind[];
  /** Where only one kind of barrier has the rule. */
  readonly barriers?: readonly Barrier[];
}

const mutant = (name: string, breaks: string, changes: Partial<Rules>, where: Pick<Mutant, 'faults' | 'kinds' | 'barriers'> = {}): Mutant => ({ name, breaks, rules: { ...soundRules, ...changes }, ...where });

/** Each breaks one rule on purpose; a simulator that does not find one is worth nothing. */
export const mutants: readonly Mutant[] = [
  mutant('slow manifest put lands after a raise', 'R12, R16', {
    commitDecidesAnew: false,
    // Together with a fold that takes a commit wherever it stands in the log.
    evolve: (state, decision) => (decision.type === 'epoch.committed' ? { ...evolve(state, decision), tip: decision.data.cut } : evolve(state, decision)),
  }),
  mutant('log tail lost after release', 'R16', {
    decideRaise: (state, view, ...rest) => decideRaise(state, { ...view, cuts: [], generations: view.generations.filter(({ generation }) => generation <= state.generation) }, ...rest),
  }),
  mutant('generation reused after a rebuild', 'R16', {
    // By the newest cut, as if nothing had been raised after it.
    decideRebuild: (...findings) => {
      const rebuilt = decideRebuild(...findings);
      const generation = rebuilt.tip?.generation ?? rebuilt.generation;
      return { ...rebuilt, generation, highest: generation };
    },
    // Together with a raise that does not look what the store knows.
    decideRaise: (state, view, ...rest) => decideRaise(state, { ...view, generations: [] }, ...rest),
  }, { faults: 14, kinds: logLoss }),
  mutant('decision appended behind a log that went on meanwhile', 'R13', {
    appendWhereDecided: false,
    // Together with an agent that takes a raise wherever it stands.
    react: (state, decision) => react(decision.type === 'generation.raised' ? { ...state, generation: 0 } : state, decision),
  }, { faults: 30, kinds: ['two coordinators', 'store slow', 'store slow', 'VM dies', 'host dies', 'coordinator restarts'] }),
  mutant('roll back from a state ahead of the basis', 'R1', { survivorsRollBack: false }),
  mutant('an aborted layer dropped', 'R1', { abortKeepsLayer: false }, { faults: 14, kinds: ['store slow', 'store slow', 'host off the bus', 'store away'] }),
  mutant('first segment after recovery on the wrong parent', 'R2', { firstParentIsBasis: false }),
  mutant('agent restart that trusts its memory', 'R3', { restartIsEmpty: false }),
  mutant('output tagged by the edge, not by its sender', 'R8', { outputTag: (colour) => colour - 1 }),
  mutant('output released before the commit', 'R8, R12', { releaseOnCommit: false }),
  mutant('gate opened by fear', 'R11', { gateStaysClosed: false }),
  mutant('bus outage suspects everyone', 'R21', {
    // The clock follows real time, whatever comes back from the bus.
    loopback: (detector, now_ms) => ({ ...detector, clock_ms: now_ms, loopback_ms: now_ms }),
  }),
  mutant('old generation accepted', 'R16', { fenceFrames: false }),
  mutant('frame two colours old logged to one cut', 'R6', { logToEveryCut: false }),
  mutant('late frame not logged', 'R6', { logLate: false }),
  mutant('newer colour delivered before the own cut', 'R5', { holdNewer: false }),
  mutant('barrier missed, peers wait for ever', 'R5', { hearColour: (state) => ({ state, orders: [] }) }),
  mutant('what is written while a base is made is forgotten', 'R20', { seedTracks: false }),
  mutant('a VM that the basis does not hold is taken to be in the cuts', 'R20', {
    // By the fold of the hosts: what they load is then not there.
    react: (state, decision) => react(state, decision.type === 'generation.raised' ? { ...decision, data: { ...decision.data, vms: Object.keys(state.placement) } } : decision),
  }, { faults: 14, kinds: ['host dies', 'VM dies'] }),
  mutant('a host waits for its seal for ever', 'R4a', { sealOverdue: (state) => ({ state, orders: [] }) }, { barriers: ['two-phase'] }),
  mutant('sealed before all stand still', 'R4a', {
    decideEpochs: (cluster, state, ledger, ...rest) => {
      const open = state.open.find(({ sealed }) => !sealed);
      const some = open !== undefined && ledger.reached.some(({ generation, epoch }) => generation === state.generation && epoch === open.epoch);
      return some ? { kind: 'seal', data: { generation: state.generation, epoch: open.epoch } } : decideEpochs(cluster, state, ledger, ...rest);
    },
  }, { barriers: ['two-phase'] }),
];

