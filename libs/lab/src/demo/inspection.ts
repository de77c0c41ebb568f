import { setTimeout as wait } from 'node:timers/promises';
import { GuestSilent } from '../guest-control.js';
import type { WritesFound } from '../oracles/acked-writes.js';
import type { Oracles } from '../oracles/all.js';
import { standingAlarms } from '../oracles/log-audit.js';
import type { OutsideClients } from '../outside-clients.js';
import type { GuestVoice } from './guest-voice.js';
import { spareExpected, type Room } from './spare.js';
import { NotSeen, type ClusterWatch } from './watch.js';

const PROGRESS_MS = 2_000; // two readings this far apart: at the light load's 50 moves a second some dozens pass on every link
const COMMITTED_AGAIN_MS = 30_000;
const ALARM_MS = 5_000; // an alarm is derived from the log; it follows within a second

export interface InspectionOf { readonly watch: ClusterWatch; readonly guests: GuestVoice; readonly oracles: Oracles; readonly room: Room; readonly outside: Pick<OutsideClients, 'check' | 'checkHistories' | 'checkTransactions'> }

/** Looks at everything that must hold once the cluster runs: before the first failure, after each recovery, at the end. */
export async function inspect({ watch, guests, oracles, room, outside }: InspectionOf, when: string): Promise<void> {
  const { generation } = watch.state;
  const committed = await seen(watch.until(`a cut of generation ${generation}`, COMMITTED_AGAIN_MS, () => watch.state.tip?.generation === generation && watch.state.stage === 'running'));
  oracles.protection.check(committed, () => `${when}: no cut of generation ${generation} within ${COMMITTED_AGAIN_MS} ms (cluster is ${watch.state.stage})`);
  await alarms(watch, room, oracles, when);
  oracles.writes.found(await writesFound(outside), when);
  oracles.remembered.histories(await outside.checkHistories(), when);
  const transactions = await outside.checkTransactions();
  if (transactions !== null) oracles.remembered.database(transactions, when);
  try {
    const [banks, patterns, vectors, blocks] = [await guests.banks(), await guests.patterns(), await guests.vectors(), await guests.blocks()];
    await wait(PROGRESS_MS);
    oracles.messages.reading(vectors, await guests.vectors(), when);
    const blocksAfter = await guests.blocks();
    if (blocks !== null && blocksAfter !== null) oracles.blocks.reading(blocks, blocksAfter, when);
    oracles.bank.reading(banks, await guests.banks(), when);
    for (const [vm, after] of await guests.patterns()) {
      const before = patterns.get(vm);
      if (before !== undefined) oracles.memory.reading(vm, before, after, when);
    }
    oracles.bank.audit(await guests.audit(), when);
  } catch (error) {
    if (!(error instanceof GuestSilent)) throw error;
    oracles.bank.silent(error.message, when);
  }
}

async function writesFound(outside: InspectionOf['outside']): Promise<WritesFound> {
  const { keys, complaints, lost, unknown } = await outside.check();
  return { checked: keys, lost: lost + unknown === 0 ? [] : [...complaints, ...Array<string>(Math.max(0, lost + unknown - complaints.length)).fill('another')] };
}

/** I6: the alarm says so while no host could take a lost one's VMs, and is over when one can. */
async function alarms(watch: ClusterWatch, room: Room, oracles: Oracles, when: string): Promise<void> {
  const right = (): boolean => standingAlarms(watch.facts).has('no-spare') === !spareExpected(watch.state, room);
  const seenRight = await seen(watch.until('the alarm of a missing spare', ALARM_MS, right));
  oracles.protection.check(seenRight, () => `${when}: the alarm no-spare is ${standingAlarms(watch.facts).has('no-spare') ? 'raised though there is one' : 'missing though there is none'}`);
}

async function seen(waiting: Promise<true>): Promise<boolean> {
  try {
    return await waiting;
  } catch (error) {
    if (error instanceof NotSeen) return false; // what was not seen is the oracle's finding, with its own words
    throw error;
  }
}
