import { DiscardPolicy, jetstreamManager, JetStreamApiCodes, JetStreamApiError, RetentionPolicy, StorageType, type JetStreamManager, type StreamConfig } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { streams } from '@virtcft/events';
import { logger } from '@virtcft/telemetry';
import { BusRefused, BusUnavailable, StreamMismatch } from './errors.js';
import { limits } from './limits.js';
import { delay, forbidden, transient } from './retry.js';

export interface StreamOptions { readonly replicas?: number; readonly storage?: 'file' | 'memory' }

type Wanted = Partial<StreamConfig> & Pick<StreamConfig, 'name' | 'subjects'>;
const nanos = (ms: number): number => ms * 1_000_000;
const log = logger('bus');

/** The three streams as they must be. Decisions are never discarded, deleted or purged: a full log refuses instead. */
export function wantedStreams({ replicas = 1, storage = 'file' }: StreamOptions = {}): Wanted[] {
  const every = {
    num_replicas: replicas, storage: storage === 'file' ? StorageType.File : StorageType.Memory, retention: RetentionPolicy.Limits,
    duplicate_window: nanos(limits.duplicate_window_ms), max_msg_size: limits.event_bytes,
  };
  return [
    { ...every, ...streams.decisions, subjects: [...streams.decisions.subjects], discard: DiscardPolicy.New, max_age: 0, max_bytes: -1, max_msgs: -1, deny_delete: true, deny_purge: true },
    { ...every, ...streams.reports, subjects: [...streams.reports.subjects], discard: DiscardPolicy.Old, max_age: nanos(limits.reports_age_ms), max_bytes: limits.reports_bytes, max_msgs: -1 },
    { ...every, ...streams.hosts, subjects: [...streams.hosts.subjects], discard: DiscardPolicy.Old, max_age: 0, max_bytes: -1, max_msgs: -1, max_msgs_per_subject: 1 },
  ];
}

/** What a server lets one change on a stream that exists, and what needs another stream. */
const immutable: ReadonlySet<string> = new Set(['storage', 'retention', 'deny_delete', 'deny_purge']);

export interface Difference { readonly key: string; readonly wanted: unknown; readonly found: unknown; readonly changeable: boolean }

export function differences(wanted: Wanted, found: Partial<StreamConfig>): Difference[] {
  const plain = (value: unknown): string => JSON.stringify(value ?? null);
  return Object.entries(wanted)
    .map(([key, value]) => ({ key, wanted: value, found: found[key as keyof StreamConfig] ?? (value === false ? false : undefined), changeable: !immutable.has(key) }))
    .filter((entry) => plain(entry.wanted) !== plain(entry.found));
}

/** Creates what is missing, updates what may be updated, and compares what the server says it made with what was asked. */
export async function provision(connection: NatsConnection, options: StreamOptions): Promise<void> {
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: limits.api_ms });
  for (const wanted of wantedStreams(options)) {
    const found = await find(manager, wanted.name);
    const before = found ? differences(wanted, found) : [];
    const fixed = before.find((entry) => !entry.changeable);
    if (fixed) {
      throw new StreamMismatch(`stream ${wanted.name} has ${fixed.key} ${JSON.stringify(fixed.found)} where ${JSON.stringify(fixed.wanted)} is needed, which no server can change`,
        `give VirtCFT a NATS account of its own, or move the old stream away (nats stream backup, then nats stream rm ${wanted.name})`);
    }
    if (found && before.length === 0) continue;
    const { config } = found ? await manager.streams.update(wanted.name, { ...found, ...wanted }) : await manager.streams.add(wanted);
    const ignored = differences(wanted, config);
    if (ignored.length > 0) {
      throw new StreamMismatch(`the server made stream ${wanted.name} otherwise than asked: ${ignored.map((entry) => `${entry.key} is ${JSON.stringify(entry.found)}`).join(', ')}`,
        'use nats-server 2.12 or newer without a configuration that overrides streams');
    }
    log.info({ stream: wanted.name, changed: before.map((entry) => entry.key) }, found ? 'stream updated' : 'stream created');
  }
}

async function find(manager: JetStreamManager, name: string): Promise<StreamConfig | null> {
  try {
    return (await manager.streams.info(name)).config;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound) return null;
    throw error;
  }
}

/** Waits until the coordinator has made the streams. */
export async function untilProvisioned(connection: NatsConnection, timeout_ms: number): Promise<void> {
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: limits.api_ms });
  const end = performance.now() + timeout_ms;
  for (const { name } of wantedStreams()) {
    while (!(await find(manager, name).catch((error: unknown) => { if (transient(error)) return null; throw refusedOr(error); }))) {
      if (performance.now() > end) throw new BusUnavailable(`stream ${name} did not appear within ${timeout_ms} ms`, 'start the coordinator: it makes the streams');
      await delay(100);
    }
  }
}

function refusedOr(error: unknown): unknown {
  const refused = forbidden(error);
  return refused ? new BusRefused(`this user may not see the streams (${refused.subject})`, 'give the user the rights of its service (libs/bus: permissions)', { cause: error }) : error;
}
