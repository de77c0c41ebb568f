export { Fill, SourceDead, wantedRuns } from './fill.js';
export type { Fillable, FillLog, PageSource } from './fill.js';
export { LIMITS } from './limits.js';
