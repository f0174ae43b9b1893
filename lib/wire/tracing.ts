/**
 * Traces, by the OpenTelemetry that is in Deno itself: with `OTEL_DENO=true` in
 * the daemon's environment (and `OTEL_EXPORTER_OTLP_ENDPOINT` for where they
 * go) each request is one trace: its time in the queue, the look-up of the pod
 * and of its networks, each plugin. A trace that the runtime began
 * (`TRACEPARENT`) is gone on with, by the shim too, and each plugin is handed
 * the place of its own run in it. Without `OTEL_DENO` there is no tracer, and
 * nothing is paid. A compiled program traces when it was compiled with
 * `OTEL_DENO`: Deno bakes that in.
 *
 * The exporter is in the runtime, below the permissions: it reads its variables
 * and reaches its collector without a grant, so nothing is granted for it.
 *
 * W3C Trace Context, section 3.2 "Traceparent Header".
 */
import { PROGRAM_VERSION } from "./program_version.ts";

/** What a span says of itself, by names of OpenTelemetry or our own. */
export type SpanAttributes = Readonly<Record<string, string | number>>;

/** One stretch of work in a trace. */
export interface Span {
  /** Begins a part of it. */
  child(name: string, attributes?: SpanAttributes): Span;
  /** Its place in the trace, for those who go on with it, as `TRACEPARENT` has it. */
  readonly traceparent: string;
  /** Ends it; with an error it is marked as failed. */
  end(error?: unknown): void;
  /** Runs work whose requests to the API server belong to this span. */
  within<T>(work: () => T): T;
}

/** Begins traces. */
export interface Tracer {
  /** Begins the span of a request, within the trace that `traceparent` names where it names one. */
  start(
    name: string,
    options: { traceparent?: string; attributes?: SpanAttributes },
  ): Span;
}

/** As OpenTelemetry's API has them; Deno's types say "any". */
interface RawSpan {
  spanContext(): SpanContext;
  setStatus(status: { code: number; message: string }): unknown;
  end(): void;
}

interface SpanContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
}

interface RawContext {
  setValue(key: symbol, value: unknown): RawContext;
}

interface RawTracer {
  startSpan(name: string, options: object, context: RawContext): RawSpan;
}

interface ContextManager {
  active(): RawContext;
  with<T>(context: RawContext, work: () => T): T;
}

/** Where OpenTelemetry's API keeps a context's span. */
const SPAN_KEY = Symbol.for("OpenTelemetry Context Key SPAN");
/** Kinds and codes of OpenTelemetry's API. */
const KIND_INTERNAL = 0;
const KIND_SERVER = 1;
const STATUS_ERROR = 2;

/** A reason in a span is for one glance; the whole one is in the log. */
const REASON_LENGTH_MAX = 300;

const TRACEPARENT = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})/;

/** The tracer, where the runtime was told to trace. */
export function createTracer(): Tracer | undefined {
  const manager: ContextManager = Deno.telemetry.contextManager;
  const tracer: RawTracer = Deno.telemetry.tracerProvider.getTracer(
    "multus",
    PROGRAM_VERSION,
  );
  if (!isOn(tracer, manager)) return undefined;
  return {
    start(name, { traceparent = "", attributes = {} }): Span {
      const remote = parseTraceparent(traceparent);
      const active = manager.active();
      const context = remote === undefined
        ? active
        : active.setValue(SPAN_KEY, { spanContext: () => remote });
      const options = { kind: KIND_SERVER, attributes };
      return wrapSpan({ tracer, manager, context }, name, options);
    },
  };
}

/** Without `OTEL_DENO` the runtime has tracers that refuse to begin anything. */
function isOn(tracer: RawTracer, manager: ContextManager): boolean {
  try {
    // A span that is never ended is never sent.
    tracer.startSpan("probe", {}, manager.active());
    return true;
  } catch {
    return false;
  }
}

interface Place {
  readonly tracer: RawTracer;
  readonly manager: ContextManager;
  readonly context: RawContext;
}

function wrapSpan(place: Place, name: string, options: object): Span {
  const { tracer, manager } = place;
  const raw = tracer.startSpan(name, options, place.context);
  const context = place.context.setValue(SPAN_KEY, raw);
  return {
    child: (childName, attributes = {}) =>
      wrapSpan({ tracer, manager, context }, childName, {
        kind: KIND_INTERNAL,
        attributes,
      }),
    get traceparent(): string {
      return formatTraceparent(raw.spanContext());
    },
    end(error): void {
      if (error !== undefined) {
        const message = error instanceof Error ? error.message : String(error);
        raw.setStatus({
          code: STATUS_ERROR,
          message: message.slice(0, REASON_LENGTH_MAX),
        });
      }
      raw.end();
    },
    within: (work) => manager.with(context, work),
  };
}

/** The span that a `TRACEPARENT` names; whatever else stands there begins a new trace, as the specification asks. */
function parseTraceparent(text: string): SpanContext | undefined {
  const [, version = "ff", traceId = "", spanId = "", flags = ""] =
    TRACEPARENT.exec(text) ?? [];
  if (version === "ff" || /^0+$/.test(traceId) || /^0+$/.test(spanId)) {
    return undefined;
  }
  return { traceId, spanId, traceFlags: parseInt(flags, 16) };
}

function formatTraceparent(
  { traceId, spanId, traceFlags }: SpanContext,
): string {
  const flags = (traceFlags & 0xff).toString(16).padStart(2, "0");
  return `00-${traceId}-${spanId}-${flags}`;
}

/** Does a part of the work in a span of its own; only does it, where there is no trace. */
export async function inSpan<T>(
  parent: Span | undefined,
  name: string,
  work: () => Promise<T>,
): Promise<T> {
  if (parent === undefined) return await work();
  const span = parent.child(name);
  try {
    const value = await span.within(work);
    span.end();
    return value;
  } catch (error) {
    span.end(error);
    throw error;
  }
}
