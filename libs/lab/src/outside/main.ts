// The outside clients' process, run in the site; it is asked over IPC by OutsideClients.
import type { Load } from '../guests.js';
import { HistoryClient } from './history-client.js';
import type { Target } from './line.js';
import { Prober } from './prober.js';
import { RedisWriter } from './redis-writer.js';
import { Transactions } from './transactions.js';

export interface OutsideSettings {
  readonly redis: Target; readonly load: Load['client']; readonly probe_ms: number;
  /** Guests whose histories are appended to. */
  readonly histories: readonly Target[];
  readonly database: { readonly target: Target; readonly load: NonNullable<Load['disks']> } | null;
}
export type OutsideRequest = { readonly ask: 'write' | 'probe' | 'rest' | 'status' | 'check' | 'check-histories' | 'check-transactions' | 'stop' } | { readonly ask: 'mark'; readonly ago_ms: number };
export type OutsideQuestion = OutsideRequest & { readonly id: number };
export type OutsideAnswer = { readonly id: number; readonly value: unknown } | { readonly id: number; readonly failed: string };

const settings = JSON.parse(process.argv[2] ?? 'null') as OutsideSettings;
const writer = new RedisWriter(settings.redis, settings.load);
const prober = new Prober(settings.redis, settings.probe_ms);
const histories = settings.histories.map((target) => new HistoryClient(target, settings.load.appends_per_s / settings.histories.length));
const transactions = settings.database === null ? null : new Transactions(settings.database.target, settings.database.load);

async function answer(question: OutsideQuestion): Promise<unknown> {
  switch (question.ask) {
    case 'write':
      writer.start();
      for (const history of histories) history.start();
      transactions?.start();
      return null;
    case 'probe': prober.start(); return null;
    case 'rest': prober.stop(); return null;
    case 'mark': prober.mark(question.ago_ms); return null;
    case 'status': return { writer: writer.status(), probe: prober.status(), appended: histories.reduce((sum, { acked }) => sum + acked, 0), committed: transactions?.acked ?? 0 };
    case 'check': return writer.check();
    case 'check-histories': return Promise.all(histories.map((history) => history.check()));
    case 'check-transactions': return transactions === null ? null : transactions.check();
    case 'stop':
      prober.stop();
      await Promise.all([writer.stop(), transactions?.stop(), ...histories.map((history) => history.stop())]);
      return writer.status();
  }
}

process.on('message', (question: OutsideQuestion) => {
  answer(question).then(
    (value) => { process.send?.({ id: question.id, value } satisfies OutsideAnswer); if (question.ask === 'stop') process.disconnect(); },
    (error: unknown) => { process.send?.({ id: question.id, failed: error instanceof Error ? error.message : String(error) } satisfies OutsideAnswer); },
  );
});
process.once('disconnect', () => { process.exit(0); });
