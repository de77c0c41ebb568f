import type { StoredDecision, StoredReport } from '@virtcft/bus';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { printable } from '../table.js';

export interface EventsOptions extends GlobalOptions { readonly follow?: boolean; readonly since: number; readonly decisions?: boolean; readonly type?: string }

/** One CloudEvent of JSON format a line. */
export function cloudEvent(stored: StoredDecision | StoredReport): Record<string, unknown> {
  const decided = 'decision' in stored;
  const { type, data } = decided ? stored.decision : stored.report;
  return {
    specversion: '1.0', id: stored.id, source: `/virtcft/${decided ? stored.cluster : stored.source}`, type: `virtcft.v1.${type}`, subject: stored.cluster, time: stored.time.toISOString(),
    datacontenttype: 'application/json', sequence: stored.sequence, ...(decided ? { hash: stored.hash, ...(stored.previous === null ? {} : { previous: stored.previous }) } : {}), ...stored.trace, data,
  };
}

/** A line for people: time, where it is stored, type, and the data's plain values. */
export function eventLine(stored: StoredDecision | StoredReport): string {
  const decided = 'decision' in stored;
  const { type, data } = decided ? stored.decision : stored.report;
  const values = Object.entries(data as Record<string, unknown>).map(([key, value]) => `${key}=${brief(value)}`).join(' ');
  return printable(`${stored.time.toISOString()}  ${decided ? 'decision' : 'report  '}  ${type.padEnd(19)}  ${decided ? '' : `${stored.source}: `}${values}`);
}

function brief(value: unknown): string {
  if (Array.isArray(value)) return value.every((item) => typeof item !== 'object') ? `[${value.join(' ')}]` : `${value.length} of them`;
  if (value !== null && typeof value === 'object') return 'hash' in value && 'epoch' in value && 'generation' in value ? `${String(value.generation)}-${String(value.epoch)}` : '{...}';
  const text = String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** Decisions and reports since a time, in the order of each stream; with --follow also what comes, until Ctrl-C. */
export async function events(io: Io, options: EventsOptions): Promise<void> {
  await Session.run(io, options, async (session) => {
    const cluster = options.cluster === undefined ? {} : { cluster: (await session.cluster()).id };
    const print = (stored: StoredDecision | StoredReport): void => {
      const { type } = 'decision' in stored ? stored.decision : stored.report;
      if (options.type !== undefined && !(type === options.type || type.startsWith(`${options.type}.`))) return;
      io.out(`${options.output === 'json' ? JSON.stringify(cloudEvent(stored)) : eventLine(stored)}\n`);
    };
    const from = new Date(Date.now() - options.since);
    if (options.follow) {
      const follows = [session.bus.followDecisions({ ...cluster, from, signal: io.signal }, print)];
      if (!options.decisions) follows.push(session.bus.followReports({ ...cluster, from, signal: io.signal }, print));
      await Promise.all(follows);
      return;
    }
    const [all, end] = [[] as (StoredDecision | StoredReport)[], [new AbortController(), new AbortController()] as const];
    const until = (at: 0 | 1) => ({ ...cluster, from, signal: AbortSignal.any([io.signal, end[at].signal]), caughtUp: () => end[at].abort() });
    await session.bus.followDecisions(until(0), (stored) => void all.push(stored));
    if (!options.decisions) await session.bus.followReports(until(1), (stored) => void all.push(stored));
    for (const stored of all.sort((a, b) => a.time.getTime() - b.time.getTime())) print(stored);
  });
}
