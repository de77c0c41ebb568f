import { context, isSpanContextValid, propagation, ROOT_CONTEXT, SpanStatusCode, trace, type Attributes, type Context, type Span } from '@opentelemetry/api';

/** W3C trace context as it travels in headers; empty when nothing is traced. */
export interface TraceContext { readonly traceparent?: string; readonly tracestate?: string }

export interface SpanOptions {
  /** Where the work was ordered: usually out of a message's headers. Default: the active span. */
  readonly parent?: TraceContext;
  /** Begins a trace of its own, whatever is active. */
  readonly root?: boolean;
  /** Other traces this work belongs to. */
  readonly links?: readonly TraceContext[];
  readonly attributes?: Attributes;
}

/** A span under way. `trace` goes into the headers of what it causes. */
export interface OpenSpan {
  readonly trace: TraceContext;
  set(attributes: Attributes): void;
  event(name: string, attributes?: Attributes): void;
  /** Once; with the error that ended the work, if one did. */
  end(error?: unknown): void;
}

const tracer = trace.getTracer('virtcft');
const parentHeader = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

const contextOf = (at: TraceContext): Context =>
  propagation.extract(ROOT_CONTEXT, { ...(at.traceparent ? { traceparent: at.traceparent } : {}), ...(at.tracestate ? { tracestate: at.tracestate } : {}) });

function headersOf(at: Context): TraceContext {
  const carrier: Record<string, string> = {};
  propagation.inject(at, carrier);
  return carrier;
}

function begin(name: string, options: SpanOptions): { span: Span; at: Context; trace: TraceContext } {
  const parent = options.root ? ROOT_CONTEXT : options.parent ? contextOf(options.parent) : context.active();
  const links = (options.links ?? []).flatMap((link) => {
    const linked = trace.getSpanContext(contextOf(link));
    return linked && isSpanContextValid(linked) ? [{ context: linked }] : [];
  });
  const span = tracer.startSpan(name, { links, ...(options.attributes ? { attributes: options.attributes } : {}) }, parent);
  const at = trace.setSpan(parent, span);
  // Without an SDK no propagator is set: what came in is passed on, so that a trace goes through a service that records none.
  const headers = headersOf(at);
  return { span, at, trace: headers.traceparent || options.root ? headers : (options.parent ?? {}) };
}

function finish(span: Span, error?: unknown): void {
  if (error !== undefined) {
    const cause = error instanceof Error ? error : new Error(String(error));
    span.recordException(cause);
    span.setStatus({ code: SpanStatusCode.ERROR, message: cause.message });
  }
  span.end();
}

const opened = (span: Span, headers: TraceContext): OpenSpan => ({
  trace: headers,
  set: (attributes) => void span.setAttributes(attributes),
  event: (name, attributes) => void span.addEvent(name, attributes),
  end: (error) => finish(span, error),
});

/** For work that begins and ends in different callbacks, as an epoch does. The caller ends it. */
export function startSpan(name: string, options: SpanOptions = {}): OpenSpan {
  const begun = begin(name, options);
  return opened(begun.span, begun.trace);
}

/** Runs `work` inside a span that ends with it, marked failed when it throws. */
export async function span<T>(name: string, options: SpanOptions, work: (span: Omit<OpenSpan, 'end'>) => Promise<T> | T): Promise<T> {
  const begun = begin(name, options);
  try {
    const result = await context.with(begun.at, () => work(opened(begun.span, begun.trace)));
    finish(begun.span);
    return result;
  } catch (error) {
    finish(begun.span, error);
    throw error;
  }
}

/** The active span's context, {} when there is none. */
export const currentTrace = (): TraceContext => headersOf(context.active());

/** Anything with get and set by name: NATS' MsgHdrs, or the Headers of fetch. */
export interface HeaderBag { get(name: string): string | null | undefined; set(name: string, value: string): unknown }

export function inject(headers: HeaderBag, at: TraceContext = currentTrace()): void {
  if (at.traceparent) headers.set('traceparent', at.traceparent);
  if (at.tracestate) headers.set('tracestate', at.tracestate);
}

/** Out of a bag, or out of node's IncomingHttpHeaders. A malformed traceparent counts as none. */
export function extract(headers: HeaderBag | Readonly<Record<string, string | string[] | undefined>>): TraceContext {
  const read = (name: string): string | undefined => {
    const value = typeof headers.get === 'function' ? (headers as HeaderBag).get(name) : (headers as Record<string, string | string[] | undefined>)[name];
    return (Array.isArray(value) ? value[0] : value) || undefined;
  };
  const [traceparent, tracestate] = [read('traceparent'), read('tracestate')];
  if (traceparent === undefined || !parentHeader.test(traceparent)) return {};
  return { traceparent, ...(tracestate ? { tracestate } : {}) };
}
