// Every suite, one after the other, and one sum: lint, the native code's own tests, unit and integration tests, end-to-end tests.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { lint } from './steps/lint.mjs';
import { nodeEnvironment } from './steps/node.mjs';
import { StepFailed, root, say } from './steps/shell.mjs';

const artifacts = join(root, '.artifacts', 'test');
const END_TO_END = '<rootDir>/test/';
// Real Xen hosts under emulation; npm run test:xen runs them alone.
const XEN = '<rootDir>/test/xen/';

const count = (passed = 0, failed = 0, skipped = 0) => ({ passed, failed, skipped });
const judged = (ok) => (ok ? count(1, 0) : count(0, 1));

/** Tests that may be skipped: a pattern of the full name, a tab, the reason. */
function expectedSkips() {
  const path = join(root, '.ci', 'skips');
  const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#')) : [];
  return lines.map((line) => {
    const [pattern, reason] = line.split('\t');
    if (!reason) throw new StepFailed(`.ci/skips: "${line}" has no reason (pattern, tab, reason)`);
    return new RegExp(pattern);
  });
}

function jest(name, args) {
  const report = join(artifacts, `${name}.json`);
  rmSync(report, { force: true });
  const ended = spawnSync('node', ['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js', '--json', `--outputFile=${report}`, '--passWithNoTests', ...args],
    { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], env: nodeEnvironment() });
  if (!existsSync(report)) {
    say(`${name}: jest ended with ${ended.status ?? ended.signal} and left no report`);
    return count(0, 1);
  }
  const result = JSON.parse(readFileSync(report, 'utf8'));
  const allowed = expectedSkips();
  const skipped = result.testResults.flatMap((suite) => suite.assertionResults).filter((test) => ['pending', 'skipped', 'todo', 'disabled'].includes(test.status));
  const unexpected = skipped.filter((test) => !allowed.some((pattern) => pattern.test(test.fullName)));
  for (const test of unexpected) say(`${name}: skipped without a reason in .ci/skips: ${test.fullName}`);
  // A suite that could not even be loaded has no tests that failed.
  const broken = result.testResults.filter((suite) => suite.status === 'failed' && !suite.assertionResults.some((test) => test.status === 'failed')).length;
  const failed = result.numFailedTests + broken + unexpected.length;
  return count(result.numPassedTests, failed === 0 && ended.status !== 0 ? 1 : failed, skipped.length - unexpected.length);
}

/** Each script in native/test is a suite that says `N passed, N failed`, or counts as one by its exit code. */
function native() {
  const folder = join(root, 'native', 'test');
  const scripts = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.sh')).sort() : [];
  return scripts.map((script) => {
    const ended = spawnSync('bash', [join(folder, script)], { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 28, env: nodeEnvironment() });
    if (ended.status !== 0) console.log(ended.stdout, ended.stderr);
    const [, passed, failed] = ended.stdout.match(/(\d+) passed, (\d+) failed\s*$/) ?? [];
    const sum = passed === undefined ? judged(ended.status === 0) : count(Number(passed), Number(failed));
    return [`native ${script}`, sum.failed === 0 && ended.status !== 0 ? count(sum.passed, 1) : sum];
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
    ['xen', noXen === null ? jest('xen', ['--runInBand', '--testPathPatterns', join(root, 'test/xen/')]) : count(0, 0, 1)],
  ];
  if (noXen !== null) say(`xen: skipped: ${noXen}`);
  const total = sums.reduce((all, [, sum]) => count(all.passed + sum.passed, all.failed + sum.failed, all.skipped + sum.skipped), count());
  const line = (sum) => `${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`;
  for (const [name, sum] of sums) console.log(`${name}: ${line(sum)}`);
  console.log(line(total));
  return total.failed === 0 ? 0 : 1;
}
