import { broken, demo, RUN_MS } from './demo.js';

// What the oracles are worth: an agent that breaks one rule must turn the demo red, by the oracle that watches it.
it('output that leaves before its commit is found: an acknowledged write is gone', async () => {
  // Half a second of writes is at stake; at 100 ms a run may happen to lose none.
  const { code, report, left } = await demo('--seed', '3', '--kills', '1', '--phases', 'captured', '--interval', '500', '--mutant', 'release-before-commit');
  expect(code).toBe(1);
  expect(report.ok).toBe(false);
  expect(broken(report)).toContain('acked-writes');
  expect(left).toEqual([]);
}, RUN_MS);

it('a survivor that is not rolled back is found: its connections do not fit those of the others', async () => {
  const { code, report, left } = await demo('--seed', '4', '--kills', '1', '--phases', 'captured', '--mutant', 'survivors-not-rolled-back');
  expect(code).toBe(1);
  expect(report.ok).toBe(false);
  // Whose frames come first says whether a connection is broken by it, or goes on with other contents than were sent.
  expect(broken(report).filter((name) => ['I1', 'tcp-lives', 'messages'].includes(name))).not.toEqual([]);
  expect(left).toEqual([]);
}, RUN_MS);

it('blocks that an epoch wrote and no segment holds are found: disk and memory of the guest do not fit', async () => {
  const { code, report, left } = await demo('--seed', '3', '--kills', '1', '--phases', 'idle', '--load', 'database', '--mutant', 'dirty-block-skipped');
  expect(code).toBe(1);
  expect(report.ok).toBe(false);
  expect(broken(report).filter((name) => ['block-pattern', 'acked-transactions', 'filesystem'].includes(name))).not.toEqual([]);
  expect(left).toEqual([]);
}, RUN_MS);

it('pages of an aborted epoch that are in no segment are found: what is restored is not what was captured', async () => {
  const { code, report, left } = await demo('--seed', '6', '--kills', '1', '--phases', 'captured', '--mutant', 'aborted-layer-dropped');
  expect(code).toBe(1);
  expect(report.ok).toBe(false);
  // Lost are devices' pages (the hypervisor refuses each try to load the cut), the pattern's own, or those of a kernel that then cannot even answer.
  const refused = /\d+ recoveries of cut \S+ failed/.test(report.broken_off ?? '');
  const found = broken(report).filter((name) => ['memory-pattern', 'history-prefix', 'acked-writes', 'bank', 'messages', 'tcp-lives'].includes(name));
  expect(refused || found.length > 0 ? [] : [report.broken_off, ...broken(report)]).toEqual([]);
  expect(left).toEqual([]);
}, RUN_MS);
