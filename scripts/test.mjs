// Every suite and one sum: lint and the native code's own tests, then unit and integration tests, then end-to-end tests.
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { lint } from './steps/lint.mjs';
import { nodeEnvironment } from './steps/node.mjs';
import { StepFailed, root, say } from './steps/shell.mjs';
import { allowedSkips, count, line, tallyOfJest, tallyOfScript, total } from './steps/tally.mjs';

const artifacts = join(root, '.artifacts', 'test');
const nativeTests = join(root, 'native', 'test');
const END_TO_END = '<rootDir>/test/';
// Real Xen hosts under emulation, a suite of its own: npm run test:xen.
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

/** As long as all the others together: it runs beside them. */
const LONGEST = 'run.sh';

/** Each script in native/test is a suite that says `N passed, N failed`, or counts as one by its exit code. */
async function native(scripts) {
  const sums = [];
  for (const script of scripts) {
    const { status, stdout, stderr } = await new Promise((resolve) => {
      execFile('bash', [join(nativeTests, script)], { cwd: nativeTests, maxBuffer: 1 << 28, env: nodeEnvironment() }, (error, out, complaint) => {
        resolve({ status: error === null ? 0 : error.code ?? 1, stdout: out, stderr: complaint });
      });
    });
    if (status !== 0) console.log(stdout, stderr);
    sums.push([`native ${script}`, tallyOfScript(stdout, status)]);
  }
  return sums;
}

async function lintAndNative() {
  const scripts = existsSync(nativeTests) ? readdirSync(nativeTests).filter((file) => file.endsWith('.sh')).sort() : [];
  const longest = native(scripts.filter((script) => script === LONGEST));
  const linted = judged(lint() === 0);
  const others = await native(scripts.filter((script) => script !== LONGEST));
  return [['lint', linted], ...others, ...await longest];
}

/** The Xen lab's suite, `args` to jest. Exit code. */
export function testXen(args) {
  return spawnSync('node', ['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js', '--runInBand', join(root, 'test', 'xen'), ...args], { cwd: root, stdio: 'inherit', env: nodeEnvironment() }).status ?? 1;
}

/** With arguments only jest is run, with them. Exit code. */
export async function testAll(args) {
  mkdirSync(artifacts, { recursive: true });
  if (args.length > 0) {
    return spawnSync('node', ['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js', ...args], { cwd: root, stdio: 'inherit', env: nodeEnvironment() }).status ?? 1;
  }
  const sums = [
    ...await lintAndNative(),
    ['unit and integration', jest('unit', ['--testPathIgnorePatterns', END_TO_END, '/node_modules/', '--maxWorkers=2'])],
    ['end to end', jest('end-to-end', ['--runInBand', '--testPathIgnorePatterns', XEN, '/node_modules/', '--testPathPatterns', join(root, 'test/')])],
  ];
  const all = total(sums.map(([, sum]) => sum));
  for (const [name, sum] of sums) console.log(`${name}: ${line(sum)}`);
  console.log(line(all));
  return all.failed === 0 ? 0 : 1;
}
