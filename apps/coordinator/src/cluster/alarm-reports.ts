import type { Report } from '@virtcft/events';
import type { Alarm } from '@virtcft/protocol';

/** Which reports tell the change from the alarms that were told to the alarms that hold now (I6). */
export const alarmChanges = (told: ReadonlyMap<Alarm, string>, now: ReadonlyMap<Alarm, string>): Report[] => [
  ...[...now].filter(([alarm, detail]) => told.get(alarm) !== detail).map(([alarm, detail]): Report => ({ type: 'alarm.raised', data: { alarm, detail: detail.slice(0, 500) } })),
  ...[...told.keys()].filter((alarm) => !now.has(alarm)).map((alarm): Report => ({ type: 'alarm.cleared', data: { alarm } })),
];
