export { logger, type Logger } from './log.js';
export { currentTrace, extract, inject, span, startSpan, type HeaderBag, type OpenSpan, type SpanOptions, type TraceContext } from './trace.js';
export { metrics } from './metrics.js';
export { startTelemetry, type Telemetry } from './start.js';
