import { ago, description, duration, printable, table } from '../src/table.js';
import { noteEpoch, type EpochRow } from '../src/epochs.js';

it('columns are as wide as their widest cell, numbers stand right', () => {
  expect(table([{ host: 'a', free: 5, vms: null }, { host: 'long-name', free: 1000, vms: 'x' }], 'none')).toBe('HOST       FREE  VMS\na             5  -\nlong-name  1000  x\n');
  expect(table([], 'nothing here')).toBe('nothing here\n');
});

it('descriptions align their values and indent lists', () => {
  expect(description([['name', 'x'], ['generation', 3], ['alarms', []], ['hosts', ['a', 'b']]])).toBe('name:       x\ngeneration: 3\nalarms:     -\nhosts:\n  a\n  b\n');
});

it('what came from another machine cannot steer the terminal', () => {
  expect(printable('a\u001b[2Jb\r\n\u009bc')).toBe('a?[2Jb???c');
  expect(table([{ reason: '\u001b]0;x\u0007' }], '')).not.toContain('\u001b');
});

it.each([[0, '0 ms'], [999, '999 ms'], [1_500, '1.5 s'], [320_000, '5 m 20 s'], [7_800_000, '2 h 10 m'], [273_600_000, '3 d 4 h']])('%d ms is %s', (ms, text) => expect(duration(ms)).toBe(text));

it('a clock that is behind gives no negative age', () => expect(ago(new Date(2_000), new Date(1_000))).toBe('0 ms ago'));

it('epochs are told with how they ended; a raise gives up what was open but its basis', () => {
  const rows = new Map<number, EpochRow>();
  const cut = { key: 'k', hash: 'a'.repeat(64), generation: 1, epoch: 3 };
  const at = (ms: number): Date => new Date(ms);
  for (const epoch of [1, 2, 3, 4]) noteEpoch(rows, { time: at(epoch * 100), decision: { type: 'epoch.opened', data: { generation: 1, epoch, members: [] } } });
  noteEpoch(rows, { time: at(150), decision: { type: 'epoch.committed', data: { generation: 1, epoch: 1, cut, previous: null } } });
  noteEpoch(rows, { time: at(260), decision: { type: 'epoch.aborted', data: { generation: 1, epoch: 2, reason: 'late', missing: ['b'] } } });
  noteEpoch(rows, { time: at(500), decision: { type: 'generation.raised', data: { generation: 2, incarnation: 'a'.repeat(32), basis: cut, ahead_ms: 0 } } });
  noteEpoch(rows, { time: at(900), decision: { type: 'epoch.committed', data: { generation: 2, epoch: 9, cut, previous: null } } });
  expect([...rows.values()].map(({ epoch, outcome, decided_ms }) => [epoch, outcome, decided_ms])).toEqual([[1, 'committed', 50], [2, 'aborted', 60], [3, 'committed', 200], [4, 'given up', 100], [9, 'committed', null]]);
  expect(rows.get(2)?.detail).toBe('late; missing: b');
});
