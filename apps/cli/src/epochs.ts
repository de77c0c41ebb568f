import type { StoredDecision } from '@virtcft/bus';
import type { Session } from './session.js';

export interface EpochRow {
  readonly generation: number;
  readonly epoch: number;
  readonly outcome: 'open' | 'committed' | 'aborted' | 'given up';
  /** When its barrier was decided; null when that was before what was read. */
  readonly opened: string | null;
  readonly decided_ms: number | null;
  readonly detail: string | null;
}

/** The epochs that were opened or decided since a time, oldest first. */
export async function epochsSince(session: Session, cluster: string, from: Date): Promise<EpochRow[]> {
  const rows = new Map<number, EpochRow>();
  const replayed = new AbortController();
  await session.bus.followDecisions({ cluster, from, signal: AbortSignal.any([session.io.signal, replayed.signal]), caughtUp: () => replayed.abort() }, (stored) => noteEpoch(rows, stored));
  return [...rows.values()].sort((a, b) => a.epoch - b.epoch);
}

/** Epoch numbers are never used twice in a cluster, so one is enough to name it. */
export function noteEpoch(rows: Map<number, EpochRow>, { decision, time }: Pick<StoredDecision, 'decision' | 'time'>): void {
  const decided = (epoch: number, row: Pick<EpochRow, 'generation' | 'outcome' | 'detail'>): void => {
    const opened = rows.get(epoch)?.opened ?? null;
    rows.set(epoch, { epoch, opened, decided_ms: opened === null ? null : time.getTime() - Date.parse(opened), ...row });
  };
  if (decision.type === 'epoch.opened') {
    const { generation, epoch } = decision.data;
    rows.set(epoch, { generation, epoch, outcome: 'open', opened: time.toISOString(), decided_ms: null, detail: null });
  } else if (decision.type === 'epoch.committed') {
    decided(decision.data.epoch, { generation: decision.data.generation, outcome: 'committed', detail: null });
  } else if (decision.type === 'epoch.aborted') {
    const { generation, epoch, reason, missing } = decision.data;
    decided(epoch, { generation, outcome: 'aborted', detail: missing.length === 0 ? reason : `${reason}; missing: ${missing.join(' ')}` });
  } else if (decision.type === 'generation.raised') {
    // A raise ends what the old generation had open (R16); one that the new generation adopted is its basis.
    const { basis } = decision.data;
    for (const row of [...rows.values()]) {
      if (row.outcome === 'open') decided(row.epoch, { generation: row.generation, outcome: row.epoch === basis.epoch ? 'committed' : 'given up', detail: row.epoch === basis.epoch ? 'adopted by the raise' : 'the generation was raised' });
    }
  }
}
