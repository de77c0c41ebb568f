// Builds the addon. It needs Node's headers: those beside the running node, else the system's; with neither, node-gyp fetches them.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const roots = [process.env.npm_config_nodedir, dirname(dirname(process.execPath)), '/usr', '/usr/local'];
const nodedir = roots.find((root) => root && existsSync(join(root, 'include/node/node_api.h')) && existsSync(join(root, 'include/node/common.gypi')));
const nodeGyp = join(dirname(createRequire(import.meta.url).resolve('node-gyp/package.json')), 'bin/node-gyp.js');
// `configure build`, not `rebuild`: a running process keeps the addon it has loaded, and only what changed is compiled.
const args = ['configure', 'build', '--jobs=2', ...(nodedir ? [`--nodedir=${nodedir}`] : []), ...process.argv.slice(2)];
const { status, error } = spawnSync(process.execPath, [nodeGyp, ...args], { cwd: import.meta.dirname, stdio: 'inherit' });
if (error) throw error;
process.exitCode = status ?? 1;
