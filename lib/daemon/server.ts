/**
 * The daemon's face: a function from an HTTP request to a response. The one
 * place on this side where an error becomes a CNI error. The socket that it is
 * served on is in `socket.ts`, what a request means in `operations.ts`, who may
 * wait for whom in `limits.ts`.
 */
import {
  CniError,
  ErrorCode,
  type ErrorDocument,
  toErrorDocument,
} from "../cni/error.ts";
import { type CmdArgs, readCmdArgs } from "../cni/args.ts";
import { formatResult, type Result } from "../cni/result.ts";
import {
  DEFAULT_VERSION,
  isSupportedVersion,
  LATEST_VERSION,
} from "../cni/version.ts";
import {
  ApiStatusError,
  ApiUnavailableError,
  CredentialsError,
  PodNotFoundError,
  PodReplacedError,
} from "../kube/error.ts";
import type { Log } from "../log.ts";
import { encodeResult } from "../wire/answer.ts";
import {
  CNI_ROUTE,
  type CniRequest,
  decodeConfig,
  decodeRequest,
  DELEGATE_ROUTE,
  encodeConfig,
  type InterfaceAttributes,
  REQUEST_BYTES_MAX,
  TRACE_NAMES,
} from "../wire/request.ts";
import {
  type HttpRequest,
  type HttpResponse,
  textResponse,
} from "./http_request.ts";
import { ShuttingDownError } from "./shutting_down.ts";
import type { Span, Tracer } from "../wire/tracing.ts";

/** One call of the runtime or of a hot-plug controller, as a value. */
export interface Call {
  /** Names the request in every line of the log. */
  readonly id: string;
  /** What the runtime said. */
  readonly args: CmdArgs;
  /** Trace context to hand on to plugins. */
  readonly trace: Readonly<Record<string, string>>;
  /** Present for `/delegate`: what the controller asks for the interface. */
  readonly attributes?: InterfaceAttributes;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
  /** What the answer's time was spent on; added up by those who spend it. */
  readonly tally: Tally;
  /** Says what is done for it: each line names request, command, pod and container. */
  readonly log: Log;
  /** Its part of a trace, where the daemon traces. */
  readonly span?: Span;
}

/** Parts of a request's time, in milliseconds. */
export interface Tally {
  /** In plugins. */
  pluginMs: number;
  /** Until it had its turn. */
  waitMs: number;
}

/** The request that brings this call again, for keeping it. */
export function toRequest({ args, attributes }: Call): CniRequest {
  return {
    env: {
      CNI_COMMAND: args.command,
      CNI_CONTAINERID: args.containerId,
      CNI_NETNS: args.netns,
      CNI_IFNAME: args.ifname,
      CNI_ARGS: args.args,
      CNI_PATH: args.path,
    },
    config: encodeConfig(new TextEncoder().encode(args.stdin)),
    ...(attributes === undefined ? {} : { interfaceAttributes: attributes }),
  };
}

/** What stands in every line about a call. */
function logFieldsOf(id: string, args: CmdArgs): Record<string, unknown> {
  const { command, containerId } = args;
  const namespace = /(?:^|;)K8S_POD_NAMESPACE=([^;]*)/.exec(args.args)?.[1];
  const name = /(?:^|;)K8S_POD_NAME=([^;]*)/.exec(args.args)?.[1];
  return {
    request: id,
    command,
    ...(name === undefined ? {} : { pod: `${namespace ?? ""}/${name}` }),
    ...(containerId === "" ? {} : { container: containerId }),
  };
}

/**
 * The call that a request is; `signal` is aborted when its client goes away, `log` is where its own log begins.
 *
 * @throws {CniError} 4 or 6 when it is none.
 */
export function toCall(
  request: CniRequest,
  signal: AbortSignal,
  { log }: { readonly log: Log },
): Call {
  const stdin = orUnreadable(() => decodeConfig(request));
  const env = (name: string): string | undefined =>
    Object.hasOwn(request.env, name) ? request.env[name] : undefined;
  const trace: Record<string, string> = {};
  for (const name of TRACE_NAMES) {
    const value = env(name);
    if (value !== undefined) trace[name] = value;
  }
  const id = crypto.randomUUID().slice(0, 8);
  const args = readCmdArgs(env, stdin);
  return {
    id,
    args,
    log: log.with(logFieldsOf(id, args)),
    trace,
    signal,
    tally: { pluginMs: 0, waitMs: 0 },
    ...(request.interfaceAttributes === undefined
      ? {}
      : { attributes: request.interfaceAttributes }),
  };
}

function orUnreadable<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CniError(
      ErrorCode.decodingFailure,
      `Cannot read the request: ${reason}`,
      { cause },
    );
  }
}

/** What the server asks: each answers with a result for ADD, with nothing for the others. */
export interface Operations {
  /** A call of the runtime. */
  cni(call: Call): Promise<Result | undefined>;
  /** A call of a hot-plug controller. */
  delegate(call: Call): Promise<Result | undefined>;
}

/** One fact about readiness. */
export interface Check {
  /** Which part of the daemon it is about. */
  readonly name: string;
  /** Whether that part is as it should be. */
  readonly ok: boolean;
  /** What is known of it, for a person. */
  readonly reason: string;
}

/** What a request came to, for metrics and the log. */
export interface Served {
  /** The route, or "other". */
  readonly handler: string;
  /** The request's method. */
  readonly method: string;
  /** The response's status. */
  readonly code: number;
  /** The CNI command, where there was one. */
  readonly command?: string;
  /** How long the answer took. */
  readonly durationMs: number;
  /** How much of it plugins took, and waiting. */
  readonly tally?: Tally;
  /** What the client was told went wrong. */
  readonly error?: ErrorDocument;
  /** Whether that was for want of time. */
  readonly isLate?: boolean;
  /** The log of the call, where it was one. */
  readonly log?: Log;
  /** What the client calls itself, where it says it: `multus-shim/0.1.0`. */
  readonly client?: string;
}

/** What the handler works with. */
export interface ServerParts {
  /** What calls are answered with. */
  readonly operations: Operations;
  /** What `/readyz` says. */
  readonly readiness: () => readonly Check[];
  /** What `/status` says. */
  readonly status: () => unknown;
  /** Told of each answer. */
  readonly onServed: (served: Served) => void;
  /** Where the log of each call begins. */
  readonly log: Log;
  /** Traces calls, where the daemon is told to. */
  readonly tracer?: Tracer;
}

/** What a request was, as far as it could be read. */
type Known = Pick<Served, "handler" | "command" | "tally" | "log">;

interface Answered extends Known, Pick<Served, "error" | "isLate"> {
  readonly response: HttpResponse;
}

/** The text of a body of at most {@link REQUEST_BYTES_MAX}; bytes that are no text become replacement characters. */
function decodeBody(body: Uint8Array): string {
  if (body.length > REQUEST_BYTES_MAX) {
    throw new CniError(
      ErrorCode.decodingFailure,
      `Request is larger than ${REQUEST_BYTES_MAX} bytes`,
    );
  }
  return new TextDecoder().decode(body);
}

/** The version of the configuration in `stdin`, for the error about it; whatever stands there instead is no reason for a second error. */
function versionOf(stdin: string): string {
  try {
    const version: unknown = JSON.parse(stdin).cniVersion ?? null;
    return typeof version === "string" ? version : DEFAULT_VERSION;
  } catch {
    return DEFAULT_VERSION;
  }
}

/**
 * What the other rooms throw, as CNI errors: what may work later is "try again
 * later", so that a runtime does not take a pod for broken while the API
 * server restarts.
 */
function toCniError(error: unknown): unknown {
  if (error instanceof ApiUnavailableError) {
    return new CniError(ErrorCode.tryAgainLater, error.message, {
      cause: error,
    });
  }
  if (error instanceof PodNotFoundError || error instanceof PodReplacedError) {
    return new CniError(ErrorCode.unknownContainer, error.message, {
      cause: error,
    });
  }
  if (error instanceof ApiStatusError || error instanceof CredentialsError) {
    return new CniError(ErrorCode.tryAgainLater, error.message, {
      cause: error,
    });
  }
  return error;
}

async function answerCall(
  request: HttpRequest,
  parts: ServerParts,
): Promise<Answered> {
  const { path } = request;
  if (request.method !== "POST") {
    const refused = { ...textResponse(405, "Use POST\n"), allow: "POST" };
    return { handler: path, response: refused };
  }
  let version = DEFAULT_VERSION;
  let known: Known = { handler: path };
  let span: Span | undefined;
  try {
    const text = decodeBody(request.body);
    const decoded = orUnreadable(() => decodeRequest(text));
    const untraced = toCall(decoded, request.signal, parts);
    span = startSpan(parts.tracer, untraced);
    const call = span === undefined ? untraced : { ...untraced, span };
    const { args, log, tally } = call;
    known = { handler: path, command: args.command, tally, log };
    version = versionOf(args.stdin);
    const { netns, ifname, args: cniArgs, stdin: config } = args;
    log.debug("Request", { netns, interface: ifname, cniArgs, config });
    const work = (): Promise<Result | undefined> =>
      parts.operations[path === DELEGATE_ROUTE ? "delegate" : "cni"](call);
    const result = await (span === undefined ? work() : span.within(work));
    span?.end();
    const isShim = path === CNI_ROUTE && clientOf(request) === "multus-shim";
    const answered = resultResponse(
      result,
      isShim ? ownVersion(version) : resultVersion(request, version),
    );
    return { ...known, response: answered };
  } catch (error) {
    span?.end(error);
    const document = toErrorDocument(toCniError(error), version);
    // Shims wait for the next daemon; controllers know no other status.
    const isForNext = error instanceof ShuttingDownError && path === CNI_ROUTE;
    const status = isForNext ? 503 : 400;
    const response = jsonResponse(status, document);
    return { ...known, response, error: document, isLate: isLate(error) };
  }
}

function startSpan(
  tracer: Tracer | undefined,
  { args, id, trace }: Call,
): Span | undefined {
  return tracer?.start(`CNI ${args.command}`, {
    traceparent: trace.TRACEPARENT ?? "",
    attributes: {
      "cni.command": args.command,
      "cni.container_id": args.containerId,
      "cni.args": args.args,
      "multus.request": id,
    },
  });
}

/** Whether a deadline stands behind the error, however it was wrapped on its way. */
function isLate(error: unknown): boolean {
  for (let inner = error; inner instanceof Error; inner = inner.cause) {
    if (inner.name === "TimeoutError") return true;
  }
  return false;
}

/** The program that asks, without its version. */
function clientOf({ userAgent }: HttpRequest): string {
  return userAgent.slice(0, userAgent.indexOf("/"));
}

/** The configuration's version for our own shim, which then prints what it gets. */
function ownVersion(confVersion: string): string {
  return isSupportedVersion(confVersion) ? confVersion : LATEST_VERSION;
}

/**
 * The newest for all others, which make it their configuration's. Shims written in Go can do that only with
 * versions that they know, and fail the ADD with others; what is new in 1.1.0 an older configuration loses anyway.
 */
function resultVersion(request: HttpRequest, confVersion: string): string {
  const isSure = clientOf(request) !== "Go-http-client" ||
    confVersion === LATEST_VERSION;
  return isSure ? LATEST_VERSION : VERSION_OF_ALL_SHIMS;
}

/** Every shim that talks to a daemon at all knows it. */
const VERSION_OF_ALL_SHIMS = "1.0.0";

function resultResponse(
  result: Result | undefined,
  version: string,
): HttpResponse {
  const body = result === undefined
    ? ""
    : encodeResult(formatResult(result, version));
  return { status: 200, body, contentType: JSON_TYPE };
}

const JSON_TYPE = "application/json";

function jsonResponse(status: number, value: unknown): HttpResponse {
  return { status, body: JSON.stringify(value), contentType: JSON_TYPE };
}

function readinessResponse(
  query: string,
  checks: readonly Check[],
): HttpResponse {
  const ready = checks.every((check) => check.ok);
  const lines = checks.map((check) =>
    `[${check.ok ? "+" : "-"}] ${check.name}: ${check.reason}`
  );
  const failing = lines.filter((line) => line.startsWith("[-]"));
  const isVerbose = new URLSearchParams(query).has("verbose");
  const shown = isVerbose ? lines : failing;
  const text = [...shown, ready ? "ok" : "not ready"].join("\n");
  return textResponse(ready ? 200 : 500, `${text}\n`);
}

function route(
  request: HttpRequest,
  parts: ServerParts,
): Answered | Promise<Answered> {
  const { path, query } = request;
  switch (path) {
    case CNI_ROUTE:
    case DELEGATE_ROUTE:
      return answerCall(request, parts);
    case "/healthz":
      return { handler: path, response: textResponse(200, "ok\n") };
    case "/readyz":
      return {
        handler: path,
        response: readinessResponse(query, parts.readiness()),
      };
    case "/status":
      return { handler: path, response: jsonResponse(200, parts.status()) };
    default:
      return {
        handler: "other",
        response: textResponse(404, "Not found\n"),
      };
  }
}

/** The function from request to response. */
export function createHandler(
  parts: ServerParts,
): (request: HttpRequest) => Promise<HttpResponse> {
  return async (request) => {
    const start = performance.now();
    const { response, ...served } = await route(request, parts);
    parts.onServed({
      ...served,
      client: request.userAgent,
      method: request.method,
      code: response.status,
      durationMs: performance.now() - start,
    });
    return response;
  };
}
