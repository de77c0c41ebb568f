export { drill, runDrill, type DrillConfiguration } from './run.js';
export { checkAddress } from './address.js';
export { leftOver } from './folders.js';
export { availableMib, checkIdentity, checkRoom, guestsOf } from './guests.js';
export { judge } from './judge.js';
export { DrillRefused } from './refused.js';
export { limits } from './limits.js';
