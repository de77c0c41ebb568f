// The relay's process, run in the site; it is asked over IPC by Relay.
import { DatagramRelay, type RelayedHost } from './datagrams.js';
import { StreamRelay } from './stream.js';
import type { Weather } from './weather.js';

export interface RelaySettings {
  readonly tunnels: { readonly port: number; readonly hosts: readonly RelayedHost[] };
  /** The bus as one host reaches it: decisions come late to it. */
  readonly bus: { readonly at: { readonly host: string; readonly port: number }; readonly behind: { readonly host: string; readonly port: number }; readonly delay_ms: number } | null;
}
export type RelayRequest = { readonly ask: 'weather'; readonly from: string; readonly to: string; readonly weather: Weather } | { readonly ask: 'skew'; readonly delay_ms: number } | { readonly ask: 'status' };
export type RelayQuestion = RelayRequest & { readonly id: number };
export type RelayAnswer = { readonly id: number; readonly value: unknown };

const settings = JSON.parse(process.argv[2] ?? 'null') as RelaySettings;
const datagrams = await DatagramRelay.open(settings.tunnels.hosts, settings.tunnels.port);
const bus = settings.bus === null ? null : await StreamRelay.open(settings.bus.at, settings.bus.behind, settings.bus.delay_ms);

function answer(question: RelayQuestion): unknown {
  switch (question.ask) {
    case 'weather': datagrams.set(question.from, question.to, question.weather); return null;
    case 'skew': if (bus !== null) bus.delay_ms = question.delay_ms; return null;
    case 'status': return datagrams.status();
  }
}

process.on('message', (question: RelayQuestion) => { process.send?.({ id: question.id, value: answer(question) } satisfies RelayAnswer); });
process.once('disconnect', () => { process.exit(0); });
process.send?.({ id: 0, value: null } satisfies RelayAnswer);
