// Every package's dist/. One compiler for all (it knows the order and what has not changed) is four times as quick as nx with one each;
// `npx nx build <package>` does the same for one.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { nodeEnvironment } from './node.mjs';
import { root, run, say } from './shell.mjs';
import { contentHash, isDone, markDone, markUndone } from './stamp.mjs';

const packages = () => ['libs', 'apps'].flatMap((folder) => readdirSync(join(root, folder)).map((name) => `${folder}/${name}`));

export function buildTypeScript() {
  const sources = packages().flatMap((path) => [`${path}/src`, `${path}/package.json`, `${path}/tsconfig.json`]);
  const hash = contentHash([...sources, 'native/index.d.ts', 'tsconfig.base.json', 'tsconfig.json', 'package-lock.json']);
  const complete = packages().every((path) => !existsSync(join(root, path, 'src')) || existsSync(join(root, path, 'dist')));
  if (isDone('typescript', hash) && complete) return;
  markUndone('typescript');
  say('compiling TypeScript');
  run('node', ['node_modules/typescript/bin/tsc', '-b'], { env: nodeEnvironment(), advice: 'The compiler\'s message is above.' });
  markDone('typescript', hash);
}
