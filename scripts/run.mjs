// One entrance: node scripts/run.mjs setup|build|lint|test|test:xen|test:compose|demo|lab:xen|bench|cli [arguments]. Runs on any Node from 18 and needs nothing installed.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { build, prepare, setup } from './setup.mjs';
import { bringCompose } from './steps/compose.mjs';
import { lint } from './steps/lint.mjs';
import { bringMinio, bringOtherS3 } from './steps/minio.mjs';
import { nodeEnvironment } from './steps/node.mjs';
import { bringGuests } from './steps/guests.mjs';
import { StepFailed, root, say } from './steps/shell.mjs';
import { bringXen } from './steps/xen.mjs';
import { testAll, testXen } from './test.mjs';

const [what = 'help', ...rest] = process.argv.slice(2);

/** Runs a built program in our place: its arguments, terminal and exit code. */
function program(path, args) {
  const file = join(root, path);
  if (!existsSync(file)) throw new StepFailed(`${path} is not in this version of the project`);
  const ended = spawnSync('node', [file, ...args], { stdio: 'inherit', env: nodeEnvironment() });
  return ended.status ?? 1;
}

/** A store of its own that a program is told to use. */
function bringStore() {
  if (/(^| )--store[ =]minio( |$)/.test(rest.join(' ')) || rest.includes('store-faults')) bringMinio();
}

const commands = {
  setup() { setup(); say('ready: npm run demo, npm test'); return 0; },
  build() { build(); return 0; },
  lint() { prepare(); return lint(rest.length > 0 ? rest : ['.']); },
  test() { setup(); bringMinio(); bringOtherS3(); return testAll(rest); },
  'test:xen'() { build(); bringGuests(); bringXen(); return testXen(rest); },
  demo() { setup(); bringStore(); return program('libs/lab/dist/demo/main.js', rest); },
  'lab:xen'() { setup(); bringXen(); return program('libs/lab/dist/xen/main.js', rest); },
  bench() { setup(); bringStore(); return program('libs/lab/dist/bench/main.js', rest); },
  'test:compose'() { setup(); bringMinio(); bringCompose(); return program('libs/lab/dist/compose/main.js', rest); },
  cli() { build(); return program('apps/cli/dist/main.js', rest); },
  help() { console.log('npm run setup | build | lint | test | test:xen | test:compose | demo | lab:xen | bench | virtcft\nEach first brings what it needs. Arguments after `--`.'); return 0; },
};

// Ctrl-C goes to the program that runs, which tidies up; we end with it.
process.on('SIGINT', () => {});
try {
  const command = Object.hasOwn(commands, what) ? commands[what] : null;
  if (!command) throw new StepFailed(`there is no "${what}": use ${Object.keys(commands).join(', ')}`);
  process.exitCode = await command();
} catch (error) {
  if (!(error instanceof StepFailed)) throw error;
  console.error(`virtcft: ${error.message}`);
  process.exitCode = 1;
}
