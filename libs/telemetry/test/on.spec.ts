import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { currentTrace, metrics, span, startSpan, startTelemetry, type Telemetry, type TraceContext } from '../src/index.js';

const received: { url: string; body: string }[] = [];
let collector: Server;
let telemetry: Telemetry;
let port = 0;

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

beforeAll(async () => {
  collector = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => { received.push({ url: request.url ?? '', body: Buffer.concat(chunks).toString('latin1') }); response.end(); });
  });
  const free = createServer();
  port = await listening(free);
  free.close();
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = `http://127.0.0.1:${await listening(collector)}`;
  process.env['VIRTCFT_METRICS_PORT'] = String(port);
  telemetry = await startTelemetry('coordinator');
});
afterAll(() => {
  collector.closeAllConnections();
  collector.close();
  delete process.env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  delete process.env['VIRTCFT_METRICS_PORT'];
});

const traceOf = (at: TraceContext): string => at.traceparent?.split('-')[1] ?? 'none';

it('one trace goes from a root over headers into other work', async () => {
  const epoch = startSpan('epoch', { root: true, attributes: { epoch: 7 } });
  const capture = await span('capture', { parent: epoch.trace }, async (at) => {
    expect(currentTrace()).toEqual(at.trace);
    return at.trace;
  });
  const other = startSpan('recovery', { root: true, links: [epoch.trace, {}] });
  other.end(new Error('no room'));
  epoch.event('committed');
  epoch.end();
  expect(traceOf(epoch.trace)).toMatch(/^[0-9a-f]{32}$/);
  expect(traceOf(capture)).toBe(traceOf(epoch.trace));
  expect(capture.traceparent).not.toBe(epoch.trace.traceparent);
  expect(traceOf(other.trace)).not.toBe(traceOf(epoch.trace));
});

it('metrics are served with their units; a gauge that is cleared is gone', async () => {
  metrics.vmPause(0.012, { vm: 'a' });
  metrics.storedBytes(4096);
  metrics.heldOutput(77, { host: 'a' });
  metrics.heldOutput(78, { host: 'b' });
  metrics.heldOutput(null, { host: 'b' });
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  expect(text).toMatch(/virtcft_vm_pause_duration(_seconds)?_count\{.*vm="a".*\} 1/);
  expect(text).toMatch(/virtcft_store_size\w*_total(\{.*\})? 4096/);
  expect(text).toMatch(/virtcft_output_held\w*\{.*host="a".*\} 77/);
  expect(text).not.toMatch(/host="b"/);
});

it('spans reach the collector before the service is gone', async () => {
  await telemetry.shutdown();
  const traces = received.filter(({ url }) => url === '/v1/traces').map(({ body }) => body).join('');
  for (const part of ['coordinator', 'epoch', 'capture', 'recovery', 'no room']) expect(traces).toContain(part);
});
