export * from './names.js';
export * from './cluster-spec.js';
export * from './decisions.js';
export * from './reports.js';
export * from './subjects.js';
export * from './envelope.js';
export * from './json-schemas.js';
export * from './drill.js';
