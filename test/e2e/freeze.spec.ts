import { broken, demo, RUN_MS } from './demo.js';

it('a host that stands still and wakes after the cluster went on is heard by nobody, and comes back as an empty spare (I3)', async () => {
  const { code, report, left } = await demo('--seed', '5', '--kills', '1', '--phases', 'captured', '--failure', 'freeze');
  expect({ broken_off: report.broken_off, broken: broken(report), rare: report.invariants.filter(({ checks, checks_min }) => checks < checks_min), code }).toEqual({ broken_off: null, broken: [], rare: [], code: 0 });
  expect(report.failures).toMatchObject([{ kind: 'freeze', generation: 2, cut: { generation: 1 } }]);
  expect(report.invariants.map(({ name }) => name)).toEqual(expect.arrayContaining(['messages', 'history-prefix', 'acked-writes', 'woken-host']));
  expect(left).toEqual([]);
}, RUN_MS);
