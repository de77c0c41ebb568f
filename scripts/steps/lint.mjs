// ESLint over everything. The rule on module boundaries reads nx's cached graph and says nothing without it, so the graph comes first.
import { spawnSync } from 'node:child_process';
import { nodeEnvironment } from './node.mjs';
import { root, run } from './shell.mjs';

/** Exit code. */
export function lint(paths = ['.']) {
  const env = nodeEnvironment();
  run('node', ['node_modules/nx/dist/bin/nx.js', 'show', 'projects'], { env, stdio: ['ignore', 'ignore', 'inherit'], advice: 'Is node_modules complete? npm ci' });
  return spawnSync('node', ['node_modules/eslint/bin/eslint.js', '--max-warnings=0', ...paths], { cwd: root, stdio: 'inherit', env }).status ?? 1;
}
