import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { canonicalJson, decodeDecision, decodeRegistration, decodeReport, encodeDecision, encodeReport, InvalidEvent, type Envelope, type Report } from '../src/index.js';

const attributes = { id: '11111111-1111-4111-8111-111111111111', source: 'coordinator', time: new Date('2026-01-02T03:04:05.678Z'), trace: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` } };
const cluster = '22222222-2222-4222-8222-222222222222';
const read = (envelope: Envelope, changed: Record<string, string> = {}) => (name: string): string => ({ ...envelope.headers, ...changed })[name] ?? '';
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const report: Report = { type: 'alarm.raised', data: { alarm: 'no-spare', detail: 'host ä is full' } };

it('is a CloudEvent in binary mode, its id the message id', () => {
  const first = encodeDecision(cluster, { type: 'recovery.resumed', data: { generation: 3 } }, null, attributes);
  expect(first.headers).toEqual({
    'ce-specversion': '1.0', 'ce-id': attributes.id, 'ce-source': '/virtcft/coordinator', 'ce-type': 'virtcft.v1.recovery.resumed', 'ce-subject': cluster,
    'ce-time': '2026-01-02T03:04:05.678Z', 'ce-datacontenttype': 'application/json', 'Nats-Msg-Id': attributes.id, traceparent: attributes.trace.traceparent,
    'ce-hash': createHash('sha256').update('\nrecovery.resumed\n{"generation":3}').digest('hex'),
  });
  expect(first.payload).toBe('{"generation":3}');
  const second = encodeDecision(cluster, { type: 'recovery.resumed', data: { generation: 4 } }, first.hash, attributes);
  expect(second.headers['ce-previous']).toBe(first.hash);
  expect(second.hash).toBe(createHash('sha256').update(`${first.hash}\nrecovery.resumed\n{"generation":4}`).digest('hex'));
});

it('what is decoded is what was encoded', () => {
  const decision = { type: 'cluster.stopped', data: { by: 'operator' } } as const;
  const encoded = encodeDecision(cluster, decision, 'f'.repeat(64), attributes);
  expect(decodeDecision(read(encoded), bytes(encoded.payload))).toEqual({ ...attributes, hash: encoded.hash, previous: 'f'.repeat(64), decision });
  const told = encodeReport(cluster, report, { ...attributes, source: 'host-a' });
  expect(decodeReport(read(told), bytes(told.payload))).toEqual({ ...attributes, source: 'host-a', report });
});

it('defaults of a cluster file are part of what is hashed, so that a later default changes no old log', () => {
  const spec = { apiVersion: 'virtcft/v1', name: 'c', hosts: ['a'], vms: [{ name: 'v', kernel: '/k', mac: '52:54:00:00:00:01' }] };
  const encoded = encodeDecision(cluster, { type: 'cluster.changed', data: { spec } } as never, null, attributes);
  expect(JSON.parse(encoded.payload)).toMatchObject({ spec: { interval_ms: 100, policies: { data_loss: 'halt' } } });
});

it.each<[string, Record<string, string>, string | undefined, RegExp]>([
  ['not an event', { 'ce-specversion': '' }, undefined, /not a CloudEvent/], ['another version', { 'ce-specversion': '2.0' }, undefined, /not a CloudEvent/],
  ['no id', { 'ce-id': '' }, undefined, /ce-id/], ['a foreign type', { 'ce-type': 'com.example.x' }, undefined, /unknown event type/],
  ['an unknown type', { 'ce-type': 'virtcft.v1.nothing' }, undefined, /unknown decision/], ['a name every object has', { 'ce-type': 'virtcft.v1.constructor' }, undefined, /unknown decision/],
  ['a foreign source', { 'ce-source': 'x' }, undefined, /source/], ['no time', { 'ce-time': 'yesterday' }, undefined, /not a time/],
  ['a changed payload', {}, '{"generation":4}', /hash/], ['a changed previous', { 'ce-previous': 'a'.repeat(64) }, undefined, /hash/],
  ['another type', { 'ce-type': 'virtcft.v1.recovery.completed' }, undefined, /hash/], ['not JSON', {}, '{', /not JSON/],
])('refuses %s', (_, headers, payload, message) => {
  const encoded = encodeDecision(cluster, { type: 'recovery.resumed', data: { generation: 3 } }, null, attributes);
  expect(() => decodeDecision(read(encoded, headers), bytes(payload ?? encoded.payload))).toThrow(message);
});

it('refuses a payload out of bounds before reading it', () => {
  expect(() => decodeReport(read(encodeReport(cluster, report, attributes)), new Uint8Array(2_000_000))).toThrow(/2000000 bytes/);
});

it('canonical JSON: the same value gives the same text whatever the order of its keys, and reads back', () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => {
    const shuffled = (item: unknown): unknown => (Array.isArray(item) ? item.map(shuffled) : item !== null && typeof item === 'object' ? Object.fromEntries(Object.entries(item).reverse().map(([key, inner]) => [key, shuffled(inner)])) : item);
    const text = canonicalJson(value);
    expect(canonicalJson(shuffled(value))).toBe(text);
    expect(canonicalJson(JSON.parse(text))).toBe(text);
    expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
  }));
  expect(canonicalJson({ b: 1, a: undefined })).toBe('{"b":1}');
  expect(() => canonicalJson(() => 1)).toThrow(InvalidEvent);
});

it('untrusted bytes: every decoder either gives an event or throws InvalidEvent', () => {
  const encoded = encodeDecision(cluster, { type: 'recovery.resumed', data: { generation: 3 } }, null, attributes);
  const headers = fc.dictionary(fc.constantFrom('ce-specversion', 'ce-id', 'ce-type', 'ce-source', 'ce-time', 'ce-previous', 'ce-hash', 'traceparent'), fc.oneof(fc.string(), fc.constantFrom('virtcft.v1.alarm.raised', 'virtcft.v1.cluster.created', 'virtcft.v1.host.registered')), { maxKeys: 4 });
  const payload = fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json().map(bytes));
  let refused = 0;
  fc.assert(fc.property(headers, payload, (changed, data) => {
    for (const decode of [decodeDecision, decodeReport, decodeRegistration]) {
      try {
        decode(read(encoded, changed), data);
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidEvent);
        refused++;
      }
    }
  }), { numRuns: 500 });
  expect(refused).toBeGreaterThan(0);
});
