// The C++ addon.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nodeEnvironment } from './node.mjs';
import { root, run, say } from './shell.mjs';
import { contentHash, isDone, markDone, markUndone } from './stamp.mjs';

export function buildNative() {
  const hash = contentHash(['native/src', 'native/binding.gyp', 'native/build.mjs', 'native/package.json'], { only: ['.cc', '.h', '.gyp', '.json', '.mjs'] });
  if (isDone('native', hash) && existsSync(join(root, 'native', 'build', 'Release', 'virtcft.node'))) return;
  markUndone('native');
  say('building the native addon');
  run('node', ['native/build.mjs'], { env: { ...nodeEnvironment(), npm_config_loglevel: 'error' }, stdio: ['ignore', 'ignore', 'inherit'], advice: 'The compiler\'s message is above.' });
  markDone('native', hash);
}
