export { allBarriers, simulate, type Barriers, type Run, type RunOptions } from './simulate.js';
export { mutants, soundRules, type Mutant, type Rules } from './rules.js';
export { allFaults, logLoss, type FaultKind } from './faults.js';
export type { Invariant, Violation } from './world.js';
