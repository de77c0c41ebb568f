import { broken, demo, RUN_MS } from './demo.js';

it('a cluster of real guests loses a host in the middle of a cut, recovers by itself and is protected again', async () => {
  const { code, report, left } = await demo('--seed', '1', '--kills', '1', '--phases', 'captured');
  expect({ broken_off: report.broken_off, broken: broken(report), rare: report.invariants.filter(({ checks, checks_min }) => checks < checks_min), code }).toEqual({ broken_off: null, broken: [], rare: [], code: 0 });
  expect(report.invariants.map(({ name }) => name)).toEqual(['I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'bank-total', 'tcp-lives', 'messages', 'acked-writes', 'history-prefix', 'memory-pattern']);
  expect(report.failures).toHaveLength(1);
  expect(report.failures[0]).toMatchObject({ generation: 2, cut: { generation: 1 } });
  expect(left).toEqual([]);
}, RUN_MS);

it('a second host may die in the middle of the recovery', async () => {
  const { code, report, left } = await demo('--seed', '2', '--kills', '2', '--phases', 'idle,recovering');
  expect({ broken_off: report.broken_off, broken: broken(report), code }).toEqual({ broken_off: null, broken: [], code: 0 });
  expect(report.failures).toHaveLength(2);
  expect(report.failures[1]?.phase).toBe('recovering');
  expect(left).toEqual([]);
}, RUN_MS);
