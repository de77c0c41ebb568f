export { Lab, type LabHost, type LabOptions } from './lab.js';
export { MANAGEMENT, OUTSIDE, Site, script } from './site.js';
export { LabUnavailable, Namespaces } from './namespaces.js';
export { Program, type Ended, type ProgramOptions } from './program.js';
