// Every suite, one after the other, and one sum: lint, the native code's own tests, unit and integration tests, end-to-end tests.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { lint } from './steps/lint.mjs';
import { nodeEnvironment } from './steps/node.mjs';
import { StepFailed, root, say } from './steps/shell.mjs';
import { allowedSkips, count, line, tallyOfJest, tallyOfScript, total } from './steps/tally.mjs';

const artifacts = join(root, '.artifacts', 'test');
const END_TO_END = '<rootDir>/test/';
// Real Xen hosts under emulation; npm run test:xen runs them alone.
const XEN = '<rootDir>/test/xen/';

const judged = (ok) => (ok ? count(1) : count(0, 1));

function expectedSkips() {
  const path = join(root, '.ci', 'skips');
  try {
    return allowedSkips(existsSync(path) ? readFileSync(path, 'utf8') : '');
  } catch (error) {
    throw new StepFailed(error.message);
  }
}

function jest(name, args) {
  const report = join(artifacts, `${name}.json`);
  rmSync(report, { force: true });
  const ended = spawnSync('node', ['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js', '--json', `--outputFile=${report}`, ...args],
    { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], env: nodeEnvironment() });
  if (!existsSync(report)) {
    say(`${name}: jest ended with ${ended.status ?? ended.signal} and left no report`);
    return count(0, 1);
  }
  const tally = tallyOfJest(JSON.parse(readFileSync(report, 'utf8')), expectedSkips(), ended.status);
  for (const test of tally.unexpected) say(`${name}: skipped without a reason in .ci/skips: ${test}`);
  return tally;
}

/** Each script in native/test is a suite that says `N passed, N failed`, or counts as one by its exit code. */
function native() {
  const folder = join(root, 'native', 'test');
  const scripts = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.sh')).sort() : [];
  return scripts.map((script) => {
    const ended = spawnSync('bash', [join(folder, script)], { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 28, env: nodeEnvironment() });
    if (ended.status !== 0) console.log(ended.stdout, ended.stderr);
    return [`native ${script}`, tallyOfScript(ended.stdout, ended.status)];
  });
}

/** The Xen lab's suite, `args` to jest. Exit code. */
export function testXen(args) {
  return spawnSync('node', ['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js', '--runInBand', join(root, 'test', 'xen'), ...args], { cwd: root, stdio: 'inherit', env: nodeEnvironment() }).status ?? 1;
}

/** With arguments only jest is run, with them. `noXen`: why this machine has no Xen lab, or null. Exit code. */
export function testAll(args, noXen) {
  mkdirSync(artifacts, { recursive: true });
  if (args.length > 0) {
    return spawnSync('node', ['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js', ...args], { cwd: root, stdio: 'inherit', env: nodeEnvironment() }).status ?? 1;
  }
  const sums = [
    ['lint', judged(lint() === 0)],
    ...native(),
    ['unit and integration', jest('unit', ['--testPathIgnorePatterns', END_TO_END, '/node_modules/', '--maxWorkers=2'])],
    ['end to end', jest('end-to-end', ['--runInBand', '--testPathIgnorePatterns', XEN, '/node_modules/', '--testPathPatterns', join(root, 'test/')])],
    ['xen', noXen === null ? jest('xen', ['--runInBand', '--testPathPatterns', join(root, 'test/xen/')]) : expectedSkips().some((pattern) => pattern.test('xen')) ? count(0, 0, 1) : count(0, 1)],
  ];
  if (noXen !== null) say(`xen: skipped: ${noXen}`);
  const all = total(sums.map(([, sum]) => sum));
  for (const [name, sum] of sums) console.log(`${name}: ${line(sum)}`);
  console.log(line(all));
  return all.failed === 0 ? 0 : 1;
}
