// The outside clients' process, run in the site; it is asked over IPC by OutsideClients.
import type { Load } from '../guests.js';
import { Prober } from './prober.js';
import { RedisWriter } from './redis-writer.js';

export interface OutsideSettings { readonly redis: { readonly host: string; readonly port: number }; readonly load: Load['client']; readonly probe_ms: number }
export type OutsideRequest = { readonly ask: 'write' | 'probe' | 'rest' | 'status' | 'check' | 'stop' } | { readonly ask: 'mark'; readonly ago_ms: number };
export type OutsideQuestion = OutsideRequest & { readonly id: number };
export type OutsideAnswer = { readonly id: number; readonly value: unknown } | { readonly id: number; readonly failed: string };

const settings = JSON.parse(process.argv[2] ?? 'null') as OutsideSettings;
const writer = new RedisWriter(settings.redis, settings.load);
const prober = new Prober(settings.redis, settings.probe_ms);

async function answer(question: OutsideQuestion): Promise<unknown> {
  switch (question.ask) {
    case 'write': writer.start(); return null;
    case 'probe': prober.start(); return null;
    case 'rest': prober.stop(); return null;
    case 'mark': prober.mark(question.ago_ms); return null;
    case 'status': return { writer: writer.status(), probe: prober.status() };
    case 'check': return writer.check();
    case 'stop': prober.stop(); await writer.stop(); return writer.status();
  }
}

process.on('message', (question: OutsideQuestion) => {
  answer(question).then(
    (value) => { process.send?.({ id: question.id, value } satisfies OutsideAnswer); if (question.ask === 'stop') process.disconnect(); },
    (error: unknown) => { process.send?.({ id: question.id, failed: error instanceof Error ? error.message : String(error) } satisfies OutsideAnswer); },
  );
});
process.once('disconnect', () => { process.exit(0); });
