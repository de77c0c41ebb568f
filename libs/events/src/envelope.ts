import { createHash } from 'node:crypto';
import { z } from 'zod';
import { decisionSchemas, type Decision, type DecisionType } from './decisions.js';
import { HostRegistered, reportSchemas, type Report, type ReportType } from './reports.js';

/**
 * CloudEvents 1.0, binary mode of the NATS binding: every attribute is a header with the prefix `ce-`, the payload is the data as
 * canonical JSON. `Nats-Msg-Id` is the event's id, so that a repeated publish is stored once. W3C trace context travels in its own two headers.
 */
export interface Envelope { readonly headers: Readonly<Record<string, string>>; readonly payload: string }

/** W3C trace context as it travels in headers. */
export interface TraceHeaders { readonly traceparent?: string; readonly tracestate?: string }

export interface Attributes {
  readonly id: string;
  /** Who says it: a service, or a host for its agent's reports. */
  readonly source: string;
  readonly time: Date;
  readonly trace?: TraceHeaders;
}

/** A decision's place in its cluster's log: each entry names the hash of the one before it. */
export interface Link { readonly hash: string; readonly previous: string | null }

export interface DecodedDecision extends Link { readonly id: string; readonly source: string; readonly time: Date; readonly decision: Decision; readonly trace: TraceHeaders }
export interface DecodedReport { readonly id: string; readonly source: string; readonly time: Date; readonly report: Report; readonly trace: TraceHeaders }

/** The event cannot be understood: another version's, damaged, or not an event at all. */
export class InvalidEvent extends Error {
  override readonly name = 'InvalidEvent';
}

/** A header's value, '' when absent (as NATS clients give it). */
export type HeaderReader = (name: string) => string;

/** Far above any decision or report; the bus keeps small facts only. */
export const MAX_EVENT_BYTES = 1_048_576;
const typePrefix = 'virtcft.v1.';
const sourcePrefix = '/virtcft/';

/** JSON with sorted keys and no white space: the same value gives the same bytes everywhere. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item === undefined ? null : item)).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
  }
  const text = JSON.stringify(value);
  if (text === undefined) throw new InvalidEvent(`a ${typeof value} cannot be an event's data`);
  return text;
}

/** sha256 over the previous entry's hash (nothing for the first), the type and the payload's bytes, each on a line. */
export function decisionHash(previous: string | null, type: string, payload: string): string {
  return createHash('sha256').update(`${previous ?? ''}\n${type}\n`).update(payload).digest('hex');
}

function attributeHeaders(type: string, subject: string, attributes: Attributes): Record<string, string> {
  const { traceparent, tracestate } = attributes.trace ?? {};
  return {
    'ce-specversion': '1.0', 'ce-id': attributes.id, 'ce-source': `${sourcePrefix}${attributes.source}`, 'ce-type': `${typePrefix}${type}`,
    'ce-subject': subject, 'ce-time': attributes.time.toISOString(), 'ce-datacontenttype': 'application/json', 'Nats-Msg-Id': attributes.id,
    ...(traceparent ? { traceparent } : {}), ...(tracestate ? { tracestate } : {}),
  };
}

function checked<T>(schema: z.ZodType<T>, type: string, data: unknown): T {
  const parsed = schema.safeParse(data);
  if (!parsed.success) throw new InvalidEvent(`${type} does not fit its schema: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

const known = (schemas: object, type: string): boolean => Object.hasOwn(schemas, type);

export function encodeDecision(cluster: string, decision: Decision, previous: string | null, attributes: Attributes): Envelope & Link & { decision: Decision } {
  const data = checked(decisionSchemas[decision.type] as z.ZodType<unknown>, decision.type, decision.data);
  const payload = canonicalJson(data);
  const hash = decisionHash(previous, decision.type, payload);
  const headers = { ...attributeHeaders(decision.type, cluster, attributes), 'ce-hash': hash, ...(previous === null ? {} : { 'ce-previous': previous }) };
  return { headers, payload, hash, previous, decision: { type: decision.type, data } as Decision };
}

export function encodeReport(cluster: string, report: Report, attributes: Attributes): Envelope {
  const data = checked(reportSchemas[report.type] as z.ZodType<unknown>, report.type, report.data);
  return { headers: attributeHeaders(report.type, cluster, attributes), payload: canonicalJson(data) };
}

export function encodeRegistration(registration: HostRegistered, attributes: Attributes): Envelope {
  const payload = canonicalJson(checked(HostRegistered, 'host.registered', registration));
  return { headers: attributeHeaders('host.registered', registration.host, attributes), payload };
}

interface Opened { readonly type: string; readonly data: unknown; readonly payload: string; readonly id: string; readonly source: string; readonly time: Date; readonly trace: TraceHeaders }

function open(header: HeaderReader, payload: Uint8Array): Opened {
  if (payload.byteLength > MAX_EVENT_BYTES) throw new InvalidEvent(`an event of ${payload.byteLength} bytes; at most ${MAX_EVENT_BYTES} are read`);
  if (header('ce-specversion') !== '1.0') throw new InvalidEvent(`not a CloudEvent of version 1.0 (ce-specversion "${header('ce-specversion')}")`);
  const [id, type, source, time] = [header('ce-id'), header('ce-type'), header('ce-source'), new Date(header('ce-time'))];
  if (id === '') throw new InvalidEvent('ce-id is missing');
  if (!type.startsWith(typePrefix)) throw new InvalidEvent(`unknown event type "${type}"`);
  if (!source.startsWith(sourcePrefix)) throw new InvalidEvent(`unknown event source "${source}"`);
  if (Number.isNaN(time.getTime())) throw new InvalidEvent(`ce-time "${header('ce-time')}" is not a time`);
  const text = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8');
  const [traceparent, tracestate] = [header('traceparent'), header('tracestate')];
  return {
    type: type.slice(typePrefix.length), data: parseJson(text), payload: text, id, source: source.slice(sourcePrefix.length), time,
    trace: { ...(traceparent ? { traceparent } : {}), ...(tracestate ? { tracestate } : {}) },
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidEvent(`the data is not JSON: ${(error as Error).message}`);
  }
}

/** Throws InvalidEvent; also when the payload does not have the hash that the event claims. */
export function decodeDecision(header: HeaderReader, payload: Uint8Array): DecodedDecision {
  const { type, data, payload: text, ...rest } = open(header, payload);
  if (!known(decisionSchemas, type)) throw new InvalidEvent(`unknown decision "${type}"`);
  const previous = header('ce-previous') || null;
  const hash = decisionHash(previous, type, text);
  if (hash !== header('ce-hash')) throw new InvalidEvent(`${type} ${rest.id} does not have the hash it claims`);
  const decision = { type, data: checked(decisionSchemas[type as DecisionType] as z.ZodType<unknown>, type, data) } as Decision;
  return { ...pick(rest), hash, previous, decision };
}

/** Throws InvalidEvent. */
export function decodeReport(header: HeaderReader, payload: Uint8Array): DecodedReport {
  const { type, data, ...rest } = open(header, payload);
  if (!known(reportSchemas, type)) throw new InvalidEvent(`unknown report "${type}"`);
  const report = { type, data: checked(reportSchemas[type as ReportType] as z.ZodType<unknown>, type, data) } as Report;
  return { ...pick(rest), report };
}

/** Throws InvalidEvent. */
export function decodeRegistration(header: HeaderReader, payload: Uint8Array): HostRegistered {
  const { type, data } = open(header, payload);
  if (type !== 'host.registered') throw new InvalidEvent(`"${type}" is not a registration`);
  return checked(HostRegistered, type, data);
}

const pick = ({ id, source, time, trace }: Pick<Opened, 'id' | 'source' | 'time' | 'trace'>): Pick<Opened, 'id' | 'source' | 'time' | 'trace'> => ({ id, source, time, trace });
