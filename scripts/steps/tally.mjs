// What a suite's result counts as. A suite that looks green because it did not run is the worst result of all: it counts as failed.
const SKIPPED = ['pending', 'skipped', 'todo', 'disabled'];

export const count = (passed = 0, failed = 0, skipped = 0) => ({ passed, failed, skipped });

export const total = (counts) => counts.reduce((all, one) => count(all.passed + one.passed, all.failed + one.failed, all.skipped + one.skipped), count());

export const line = ({ passed, failed, skipped }) => `${passed} passed, ${failed} failed, ${skipped} skipped`;

/** The patterns of `.ci/skips`: of the full name, a tab, the reason; throws Error where a reason is missing. */
export function allowedSkips(text) {
  return text.split('\n').filter((one) => one.trim() !== '' && !one.startsWith('#')).map((one) => {
    const [pattern, reason] = one.split('\t');
    if (!reason?.trim()) throw new Error(`.ci/skips: "${one}" has no reason (pattern, tab, reason)`);
    return new RegExp(pattern);
  });
}

/** What jest's JSON report counts as, with the full names of `unexpected` skips; `status` is jest's exit code, null after a signal. */
export function tallyOfJest(result, allowed, status) {
  const skipped = result.testResults.flatMap((suite) => suite.assertionResults).filter((test) => SKIPPED.includes(test.status));
  const unexpected = skipped.filter((test) => !allowed.some((pattern) => pattern.test(test.fullName))).map((test) => test.fullName);
  // A suite that could not even be loaded has no tests that failed.
  const broken = result.testResults.filter((suite) => suite.status === 'failed' && !suite.assertionResults.some((test) => test.status === 'failed')).length;
  const failed = result.numFailedTests + broken + unexpected.length;
  const silent = failed === 0 && (status !== 0 || result.numPassedTests + skipped.length === 0);
  return { ...count(result.numPassedTests, silent ? 1 : failed, skipped.length - unexpected.length), unexpected };
}

/** What a script counts as that ends with `N passed, N failed`, or else counts as one test by its exit code. */
export function tallyOfScript(output, status) {
  const [, passed, failed] = output.match(/(\d+) passed, (\d+) failed\s*$/) ?? [];
  if (passed === undefined) return status === 0 ? count(1) : count(0, 1);
  return count(Number(passed), failed === '0' && status !== 0 ? 1 : Number(failed));
}
