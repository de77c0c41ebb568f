// node_modules as package-lock.json says.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nodeEnvironment } from './node.mjs';
import { root, run, say } from './shell.mjs';
import { contentHash, isDone, markDone, markUndone } from './stamp.mjs';

export function installModules() {
  const hash = contentHash(['package-lock.json', 'package.json']);
  if (isDone('modules', hash) && existsSync(join(root, 'node_modules', '.package-lock.json'))) return;
  markUndone('modules');
  say('installing node_modules (npm ci)');
  run('npm', ['ci', '--no-fund', '--no-audit', '--loglevel=error'], { env: nodeEnvironment(), advice: 'If it says that the lock file is not in sync: npm install. Otherwise: is the npm registry reachable?' });
  markDone('modules', hash);
}
