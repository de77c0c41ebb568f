import { currentTrace, extract, inject, metrics, span, startSpan, startTelemetry } from '../src/index.js';

const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;

it('with nothing configured a trace passes through, and nothing is recorded', async () => {
  const telemetry = await startTelemetry('test');
  const inside = await span('work', { parent: { traceparent, tracestate: 'x=1' } }, (at) => at.trace);
  expect(inside).toEqual({ traceparent, tracestate: 'x=1' });
  expect(startSpan('epoch', { root: true }).trace).toEqual({});
  expect(currentTrace()).toEqual({});
  metrics.vmPause(0.01, { vm: 'a' });
  metrics.heldOutput(5);
  await telemetry.shutdown();
});

it('a span gives what its work gives, and throws what it throws', async () => {
  expect(await span('work', {}, async () => 42)).toBe(42);
  await expect(span('work', {}, () => { throw new Error('inner'); })).rejects.toThrow('inner');
});

it('headers of NATS and of HTTP carry it; a malformed one counts as none', () => {
  const bag = new Map<string, string>();
  inject(bag, { traceparent });
  expect(extract({ get: (name) => bag.get(name) ?? '', set: () => {} })).toEqual({ traceparent });
  expect(extract({ traceparent: [traceparent], tracestate: 'x=1', host: 'h' })).toEqual({ traceparent, tracestate: 'x=1' });
  expect(extract({ traceparent: 'nonsense' })).toEqual({});
  expect(extract({})).toEqual({});
});

it('a port that is none is refused by name', async () => {
  process.env['VIRTCFT_METRICS_PORT'] = 'http';
  try {
    await expect(startTelemetry('test')).rejects.toThrow(/VIRTCFT_METRICS_PORT is "http"/);
  } finally {
    delete process.env['VIRTCFT_METRICS_PORT'];
  }
});
