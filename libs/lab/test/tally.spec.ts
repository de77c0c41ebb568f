import { allowedSkips, line, tallyOfJest, tallyOfScript, total } from '../../../scripts/steps/tally.mjs';

const suite = (...statuses: string[]) => ({ status: statuses.includes('failed') ? 'failed' : 'passed', assertionResults: statuses.map((status, at) => ({ status, fullName: `test ${at} is ${status}` })) });
const result = (...suites: ReturnType<typeof suite>[]) => {
  const statuses = suites.flatMap(({ assertionResults }) => assertionResults.map(({ status }) => status));
  return { testResults: suites, numPassedTests: statuses.filter((status) => status === 'passed').length, numFailedTests: statuses.filter((status) => status === 'failed').length };
};

describe('what npm test counts', () => {
  it('takes a skip only where its reason is written down', () => {
    const skipping = result(suite('passed', 'pending'));
    expect(tallyOfJest(skipping, [], 0)).toEqual({ passed: 1, failed: 1, skipped: 0, unexpected: ['test 1 is pending'] });
    expect(tallyOfJest(skipping, allowedSkips('# KVM\ntest 1\tneeds /dev/kvm\n'), 0)).toEqual({ passed: 1, failed: 0, skipped: 1, unexpected: [] });
    expect(() => allowedSkips('test 1\n')).toThrow('"test 1" has no reason');
  });

  it.each(['todo', 'disabled', 'skipped'])('takes %s for a skip', (status) => {
    expect(tallyOfJest(result(suite('passed', status)), [], 0).failed).toBe(1);
  });

  it('counts a suite that could not be loaded, one that ran nothing, and one that ended badly, as failed', () => {
    expect(tallyOfJest(result(suite('passed'), { ...suite(), status: 'failed' }), [], 1)).toMatchObject({ passed: 1, failed: 1 });
    expect(tallyOfJest(result(), [], 0)).toMatchObject({ passed: 0, failed: 1 });
    expect(tallyOfJest(result(suite('passed')), [], 1)).toMatchObject({ passed: 1, failed: 1 });
    expect(tallyOfJest(result(suite('passed')), [], null)).toMatchObject({ passed: 1, failed: 1 });
  });

  it('believes a script its sum only as far as its exit code allows', () => {
    expect(tallyOfScript('...\n12 passed, 0 failed\n', 0)).toEqual({ passed: 12, failed: 0, skipped: 0 });
    expect(tallyOfScript('12 passed, 0 failed\n', 139)).toEqual({ passed: 12, failed: 1, skipped: 0 });
    expect(tallyOfScript('12 passed, 3 failed\n', 1)).toEqual({ passed: 12, failed: 3, skipped: 0 });
    expect(tallyOfScript('no sum\n', 0)).toEqual({ passed: 1, failed: 0, skipped: 0 });
    expect(tallyOfScript('', null)).toEqual({ passed: 0, failed: 1, skipped: 0 });
  });

  it('ends with one line', () => {
    expect(line(total([tallyOfScript('2 passed, 1 failed', 1), tallyOfJest(result(suite('passed')), [], 0)]))).toBe('3 passed, 1 failed, 0 skipped');
  });
});
