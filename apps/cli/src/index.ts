export { run } from './program.js';
export { parseClusterFile, readClusterFile } from './cluster-file.js';
export { exit, CliError, type ExitCode } from './exit.js';
export type { GlobalOptions, Io } from './session.js';
