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
import { getMember } from "../cni/json_text.ts";
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

interface Answered
  extends Pick<Served, "command" | "tally" | "error" | "isLate" | "log"> {
  readonly response: Response;
}

/**
 * What all bodies that are being read may take together: configurations have a
 * few kB, so this is more requests than a node has pods, and far below the
 * daemon's memory limit.
 */
const BODIES_BYTES_MAX = 64 * 1024 * 1024;

/** The bytes of one body, counted until it is disposed of. */
interface HeldBytes extends Disposable {
  /** @throws {CniError} 6 when the body is too large, 11 when all of them are */
  add(bytes: number): void;
}

/** Counts the bytes of all bodies that are being read; the answer begins one more. */
function countBytes(): () => HeldBytes {
  let bodiesBytes = 0;
  return () => {
    let held = 0;
    return {
      add(bytes): void {
        held += bytes;
        bodiesBytes += bytes;
        if (held > REQUEST_BYTES_MAX) {
          throw new CniError(
            ErrorCode.decodingFailure,
            `Request is larger than ${REQUEST_BYTES_MAX} bytes`,
          );
        }
        if (bodiesBytes > BODIES_BYTES_MAX) {
          throw new CniError(
            ErrorCode.tryAgainLater,
            "Too much is being asked at once: the requests together are larger than 64 MiB",
          );
        }
      },
      [Symbol.dispose](): void {
        bodiesBytes -= held;
      },
    };
  };
}

/** What one handler works with: nothing of it is another's. */
interface HandlerParts extends ServerParts {
  readonly holdBytes: () => HeldBytes;
}

/** Reads a body of at most {@link REQUEST_BYTES_MAX}; a longer one is refused without being kept. */
async function readBody(
  request: Request,
  { holdBytes }: HandlerParts,
): Promise<string> {
  const chunks: Uint8Array[] = [];
  using held = holdBytes();
  for await (const chunk of request.body ?? []) {
    held.add(chunk.length);
    chunks.push(chunk);
  }
  const [only] = chunks;
  if (chunks.length === 1 && only !== undefined) {
    return new TextDecoder().decode(only);
  }
  return await new Blob(chunks as BlobPart[]).text();
}

/** The version of the configuration in `stdin`, for the error about it; whatever stands there instead is no reason for a second error. */
function versionOf(stdin: string): string {
  try {
    const version: unknown = JSON.parse(
      getMember(stdin, "cniVersion") ?? "null",
    );
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
  request: Request,
  parts: HandlerParts,
  route: string,
): Promise<Answered> {
  if (request.method !== "POST") {
    const headers = { allow: "POST" };
    return { response: new Response("Use POST\n", { status: 405, headers }) };
  }
  let version = DEFAULT_VERSION;
  let known: Pick<Served, "command" | "tally" | "log"> = {};
  let span: Span | undefined;
  try {
    const text = await readBody(request, parts);
    const decoded = orUnreadable(() => decodeRequest(text));
    const untraced = toCall(decoded, request.signal, parts);
    span = startSpan(parts.tracer, untraced);
    const call = span === undefined ? untraced : { ...untraced, span };
    const { args, log, tally } = call;
    known = { command: args.command, tally, log };
    version = versionOf(args.stdin);
    const { netns, ifname, args: cniArgs, stdin: config } = args;
    log.debug("Request", { netns, interface: ifname, cniArgs, config });
    const work = (): Promise<Result | undefined> =>
      parts.operations[route === DELEGATE_ROUTE ? "delegate" : "cni"](call);
    const result = await (span === undefined ? work() : span.within(work));
    span?.end();
    const isShim = route === CNI_ROUTE && clientOf(request) === "multus-shim";
    const answered = resultResponse(
      result,
      isShim ? ownVersion(version) : resultVersion(request, version),
    );
    return { ...known, response: answered };
  } catch (error) {
    span?.end(error);
    const document = toErrorDocument(toCniError(error), version);
    // Shims wait for the next daemon; controllers know no other status.
    const isForNext = error instanceof ShuttingDownError && route === CNI_ROUTE;
    const status = isForNext ? 503 : 400;
    const response = Response.json(document, { status });
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
function clientOf(request: Request): string {
  const agent = request.headers.get("user-agent") ?? "";
  return agent.slice(0, agent.indexOf("/"));
}

/** The configuration's version for our own shim, which then prints what it gets. */
function ownVersion(confVersion: string): string {
  return isSupportedVersion(confVersion) ? confVersion : LATEST_VERSION;
}

/**
 * The newest for all others, which make it their configuration's. Shims written in Go can do that only with
 * versions that they know, and fail the ADD with others; what is new in 1.1.0 an older configuration loses anyway.
 */
function resultVersion(request: Request, confVersion: string): string {
  const isSure = clientOf(request) !== "Go-http-client" ||
    confVersion === LATEST_VERSION;
  return isSure ? LATEST_VERSION : VERSION_OF_ALL_SHIMS;
}

/** Every shim that talks to a daemon at all knows it. */
const VERSION_OF_ALL_SHIMS = "1.0.0";

function resultResponse(
  result: Result | undefined,
  version: string,
): Response {
  const body = result === undefined
    ? null
    : encodeResult(formatResult(result, version));
  const headers = { "content-type": "application/json" };
  return new Response(body, { status: 200, headers });
}

function readinessResponse(url: URL, checks: readonly Check[]): Response {
  const ready = checks.every((check) => check.ok);
  const lines = checks.map((check) =>
    `[${check.ok ? "+" : "-"}] ${check.name}: ${check.reason}`
  );
  const failing = lines.filter((line) => line.startsWith("[-]"));
  const shown = url.searchParams.has("verbose") ? lines : failing;
  const text = [...shown, ready ? "ok" : "not ready"].join("\n");
  return new Response(`${text}\n`, { status: ready ? 200 : 500 });
}

async function route(
  request: Request,
  parts: HandlerParts,
): Promise<Answered & { handler: string }> {
  const url = new URL(request.url);
  switch (url.pathname) {
    case CNI_ROUTE:
    case DELEGATE_ROUTE:
      return {
        ...await answerCall(request, parts, url.pathname),
        handler: url.pathname,
      };
    case "/healthz":
      return { response: new Response("ok\n"), handler: url.pathname };
    case "/readyz":
      return {
        response: readinessResponse(url, parts.readiness()),
        handler: url.pathname,
      };
    case "/status":
      return {
        response: Response.json(parts.status()),
        handler: url.pathname,
      };
    default:
      return {
        response: new Response("Not found\n", { status: 404 }),
        handler: "other",
      };
  }
}

/** The function from request to response. */
export function createHandler(
  parts: ServerParts,
): (request: Request) => Promise<Response> {
  const handler = { ...parts, holdBytes: countBytes() };
  return async (request) => {
    const start = performance.now();
    const { response, ...served } = await route(request, handler);
    const client = request.headers.get("user-agent");
    parts.onServed({
      ...served,
      ...(client === null ? {} : { client }),
      method: request.method,
      code: response.status,
      durationMs: performance.now() - start,
    });
    return response;
  };
}
