import { metrics as metricsApi } from '@opentelemetry/api';
import { logger } from './log.js';

export interface Telemetry { shutdown(): Promise<void> }

/**
 * Traces go to OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP, protobuf), metrics are served for Prometheus on VIRTCFT_METRICS_PORT
 * (VIRTCFT_METRICS_HOST, default 127.0.0.1). With neither set nothing is loaded and every span and metric is a no-op.
 */
export async function startTelemetry(service: string): Promise<Telemetry> {
  const endpoint = process.env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  const port = metricsPort(process.env['VIRTCFT_METRICS_PORT']);
  if (!endpoint && port === undefined) return { shutdown: async () => {} };
  const { NodeSDK } = await import('@opentelemetry/sdk-node');
  const spans = endpoint ? { traceExporter: new (await import('@opentelemetry/exporter-trace-otlp-proto')).OTLPTraceExporter() } : { spanProcessors: [] };
  const reader = port === undefined ? undefined : await serveMetrics(port);
  const sdk = new NodeSDK({ serviceName: service, instrumentations: [], logRecordProcessors: [], ...spans, metricReaders: reader ? [reader] : [] });
  sdk.start();
  const log = logger('telemetry');
  log.info({ service, endpoint, metrics_port: port }, 'telemetry on');
  return {
    shutdown: async () => {
      // A collector that went away must not keep a service from stopping.
      await sdk.shutdown().catch((error: unknown) => log.warn({ err: error }, 'the last spans were not exported'));
      metricsApi.disable();
    },
  };
}

async function serveMetrics(port: number): Promise<import('@opentelemetry/exporter-prometheus').PrometheusExporter> {
  const { PrometheusExporter } = await import('@opentelemetry/exporter-prometheus');
  const exporter = new PrometheusExporter({ host: process.env['VIRTCFT_METRICS_HOST'] ?? '127.0.0.1', port, preventServerStart: true });
  await exporter.startServer();
  return exporter;
}

function metricsPort(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error(`VIRTCFT_METRICS_PORT is "${text}"; give a port from 1 to 65535`);
  return port;
}
