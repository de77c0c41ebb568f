import type { ReportData } from '@virtcft/events';
import { membersOf, recovering, type ClusterState } from '../cluster/state.js';
import { deadlineOf_ms } from '../epochs/decide.js';
import { storableSince_ms, type EpochLedger } from '../epochs/ledger.js';
import { limits } from '../limits.js';
import { canMoveAway } from '../recovery/placement.js';

export type Alarm = ReportData<'alarm.raised'>['alarm'];

/** Every reason why protection is weaker than promised, now, with what to do (I6). The shell reports what changed. `storeFailure`: what a host heard from the store, where one says. */
export const alarmsOf = (state: ClusterState, ledger: EpochLedger, now_ms: number, storeFailure: string | null = null): ReadonlyMap<Alarm, string> => {
  const alarms = new Map<Alarm, string>();
  if (state.spec === null || state.stage === 'waiting' || state.stage === 'stopped') return alarms;
  if (state.halted !== null) alarms.set('halted', state.halted.detail);
  if (!state.protected) alarms.set('unprotected', 'protection is off: output passes and nothing is restored by itself; `virtcft protect` turns it on');
  if (state.syncing.length > 0 && state.protected && !recovering(state)) {
    alarms.set('syncing', `${state.syncing.join(', ')} is in no cut yet: a base is being made, and a recovery before that begins it anew; \`virtcft get vms\` tells how far it is`);
  }
  const alone = membersOf(state).map(({ host }) => host).filter((host) => !canMoveAway(state, host));
  if (alone.length > 0 && !recovering(state)) {
    alarms.set('no-spare', `no eligible host has room for the VMs of ${alone.join(', ')}: add a host of the same identity with more memory`);
  }
  const late = Object.keys(state.strikes).filter((host) => (state.strikes[host] ?? 0) >= 2).sort();
  if (late.length > 0) alarms.set('straggler', `${late.join(', ')} missed epochs in a row; after ${limits.straggler_aborts} it is decided on`);
  const oldest = state.open[0];
  if (oldest !== undefined && state.open.length >= state.spec.window) {
    const waited_ms = now_ms - storableSince_ms(ledger, oldest.epoch, now_ms);
    if (waited_ms >= deadlineOf_ms(state)) alarms.set('store-unavailable', `no host could store epoch ${oldest.epoch}: ${storeFailure ?? 'see that the object store answers and has room'}`);
  }
  return alarms;
};
