export * from './state.js';
export * from './react.js';
