import type { Report } from '@virtcft/events';
import type { Alarm } from '@virtcft/protocol';

export type AlarmReport = Extract<Report, { type: 'alarm.raised' | 'alarm.cleared' }>;

/** Which reports tell the change from the alarms that were told to the alarms that hold now (I6). */
export const alarmChanges = (told: ReadonlyMap<Alarm, string>, now: ReadonlyMap<Alarm, string>): AlarmReport[] => [
  ...[...now].filter(([alarm, detail]) => told.get(alarm) !== detail.slice(0, 500)).map(([alarm, detail]): AlarmReport => ({ type: 'alarm.raised', data: { alarm, detail: detail.slice(0, 500) } })),
  ...[...told.keys()].filter((alarm) => !now.has(alarm)).map((alarm): AlarmReport => ({ type: 'alarm.cleared', data: { alarm } })),
];
