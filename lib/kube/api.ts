/**
 * Requests to the Kubernetes API over Deno's own `fetch`: get, list, watch, create
 * and merge patch, each with a deadline, each at the pace of `pace.ts`, each either
 * answered or ended with one of the two errors of `error.ts`. What the answers mean
 * is the caller's.
 *
 * Reads are tried again while the API is not available; writes are not, unless the
 * caller says that they may be.
 *
 * @module
 */
import { backOffMs, pause } from "./waiting.ts";
import { discard, forEachLine, forEachText, readText } from "./body.ts";
import type { Connection, Credentials } from "./credentials.ts";
import { type Deadline, startDeadline } from "./deadline.ts";
import { ApiStatusError, ApiUnavailableError } from "./error.ts";
import { createItemScanner } from "./json_items.ts";
import {
  createPace,
  type Outcome,
  type Pace,
  PACE_LIMITS,
  type PaceLimits,
  type Turn,
} from "./pace.ts";
import { formatPath, type ResourceRef } from "./resource.ts";

/** One request that ended, for metrics. */
export interface RequestEvent {
  /** What was done. */
  readonly verb: "get" | "list" | "watch" | "create" | "patch";
  /** The kind of object, as URLs name it. */
  readonly resource: string;
  /** The HTTP status, 0 when there was no answer. */
  readonly code: number;
  /** Until the answer's head; a watch's body is not counted. */
  readonly durationMs: number;
}

/** How the API is reached. */
export interface ApiOptions {
  /** Whose requests they are. */
  readonly credentials: Credentials;
  /** Who is asking, for the server's logs. */
  readonly userAgent?: string;
  /** Told of every request. */
  readonly onRequest?: (event: RequestEvent) => void;
  /** Limits other than `PACE_LIMITS`. */
  readonly pace?: Partial<PaceLimits>;
  /** How long one attempt may take. */
  readonly attemptMs?: number;
}

/** Who waits for an answer, and how patiently. */
export interface CallOptions {
  /** Ends the wait. */
  readonly signal: AbortSignal;
  /** How often it may be tried while the API is not available. */
  readonly attempts?: number;
}

/** Query parameters; undefined ones are left out. */
export type Query = Readonly<
  Record<string, string | number | boolean | undefined>
>;

/** What is done with one page of a list. */
export interface ListOptions extends CallOptions {
  /** Selectors, limits and the like. */
  readonly query?: Query;
  /** Called with each object as it arrives. */
  readonly onItem: (item: unknown) => void;
}

/** What a list says of itself. */
export interface ListMeta {
  /** The state that the list shows. */
  readonly resourceVersion: string;
  /** Where the next page begins; undefined on the last. */
  readonly continue: string | undefined;
}

/** What is done with a watch. */
export interface WatchOptions {
  /** Ends the wait. */
  readonly signal: AbortSignal;
  /** Selectors, limits and the like. */
  readonly query?: Query;
  /** A watch that says nothing for so long is dead. */
  readonly idleMs: number;
  /** Called once, when the server begins to answer. */
  readonly onOpen?: () => void;
  /** Called with each event, as JSON. */
  readonly onLine: (line: string) => void;
}

/** The requests. All throw `ApiUnavailableError`, `ApiStatusError`, or the signal's reason. */
export interface Api {
  /** The server's URL. */
  readonly server: string;
  /** Says that the API is down, and requests wait. */
  readonly suspended: boolean;
  /** Why the last request failed; undefined when the server is well. */
  readonly problem: string | undefined;
  /** One object. */
  get(ref: ResourceRef, options: CallOptions): Promise<unknown>;
  /** One page, item by item. Tried once: items have been handed on. */
  list(ref: ResourceRef, options: ListOptions): Promise<ListMeta>;
  /** Ends when the server ends it. */
  watch(ref: ResourceRef, options: WatchOptions): Promise<void>;
  /** Makes an object. */
  create(
    ref: ResourceRef,
    body: unknown,
    options: CallOptions,
  ): Promise<unknown>;
  /** A JSON merge patch. */
  patch(
    ref: ResourceRef,
    body: unknown,
    options: CallOptions,
  ): Promise<unknown>;
}

/** The server's own limit for requests is 60 s; a get of one object that takes a sixth of it is stuck. */
const ATTEMPT_MS = 10_000;
/** A page of a list: the longest that a server works on a request. */
const LIST_MS = 60_000;
/** About two seconds in all, or until the gate of the pace opens. */
const READ_ATTEMPTS = 5;
const RETRY_MS = { minMs: 100, maxMs: 2_000 };
/** The API server takes no object above 1.5 MB; with managed fields and conversion it may come back bigger. */
const OBJECT_CHARS_MAX = 8_000_000;
/** A Status is a few lines. */
const STATUS_CHARS_MAX = 65_536;
const MERGE_PATCH = "application/merge-patch+json";

/** Makes the API of one server. Needs `net` for it. */
export function createApi(options: ApiOptions): Api {
  const { credentials, attemptMs = ATTEMPT_MS } = options;
  const context: Context = {
    credentials,
    pace: createPace({ ...PACE_LIMITS, ...options.pace }),
    onRequest: options.onRequest ?? (() => {}),
    userAgent: options.userAgent ?? "multus-deno",
  };
  const one = (
    call: Call,
    { signal, attempts }: { signal: AbortSignal; attempts: number },
  ): Promise<unknown> =>
    retrying(
      { signal, attempts },
      () => exchange(context, call, { signal, ms: attemptMs, read: readJson }),
    );
  return {
    get server() {
      return credentials.server;
    },
    get suspended() {
      return context.pace.closed;
    },
    get problem() {
      return context.pace.problem;
    },
    get: (ref, { signal, attempts = READ_ATTEMPTS }) =>
      one({ verb: "get", ref }, { signal, attempts }),
    create: (ref, body, { signal, attempts = 1 }) =>
      one({ verb: "create", ref, body }, { signal, attempts }),
    patch: (ref, body, { signal, attempts = 1 }) =>
      one({ verb: "patch", ref, body }, { signal, attempts }),
    list: (ref, { query = {}, onItem, signal }) =>
      exchange(context, { verb: "list", ref, query }, {
        signal,
        ms: LIST_MS,
        read: (response) => readList(response, onItem),
      }),
    watch: (ref, { query = {}, idleMs, onLine, onOpen, signal }) =>
      exchange(
        context,
        { verb: "watch", ref, query: { ...query, watch: true } },
        {
          signal,
          ms: attemptMs,
          read: async (response, { deadline, turn }) => {
            // From here on it is a stream that lasts, and no request in flight.
            turn.end({ ok: true });
            deadline.extend(idleMs);
            onOpen?.();
            await forEachLine(response, onLine, deadline);
          },
        },
      ),
  };
}

interface Context {
  readonly credentials: Credentials;
  readonly pace: Pace;
  readonly onRequest: (event: RequestEvent) => void;
  readonly userAgent: string;
}

interface Call {
  readonly verb: RequestEvent["verb"];
  readonly ref: ResourceRef;
  readonly query?: Query;
  readonly body?: unknown;
}

interface Exchange<T> {
  readonly signal: AbortSignal;
  /** How long it may take from its turn on. */
  readonly ms: number;
  readonly read: (response: Response, options: Reading) => Promise<T>;
}

interface Reading {
  readonly deadline: Deadline;
  readonly turn: Turn;
}

/** Calls `attempt` again while the API is not available, with a back-off between. */
async function retrying<T>(
  { signal, attempts }: { signal: AbortSignal; attempts: number },
  attempt: () => Promise<T>,
): Promise<T> {
  for (let failures = 1;; failures += 1) {
    try {
      return await attempt();
    } catch (error) {
      const final = !(error instanceof ApiUnavailableError) ||
        failures >= attempts || signal.aborted;
      if (final) throw error;
      await pause(backOffMs(failures, RETRY_MS), signal).catch((reason) => {
        // Why the last attempt failed says more than that time was up.
        throw isTimeout(reason) ? error : reason;
      });
    }
  }
}

/** One request and its answer, in its turn. */
async function exchange<T>(
  context: Context,
  call: Call,
  { signal, ms, read }: Exchange<T>,
): Promise<T> {
  const turn = await context.pace.enter(signal);
  using deadline = startDeadline(signal, ms);
  let connection: Connection | undefined;
  try {
    connection = await context.credentials.connect();
    const response = await sendTrusted(context, call, {
      connection,
      signal: deadline.signal,
    });
    if (!response.ok) throw await toStatusError(response);
    const value = await read(response, { deadline, turn });
    turn.end({ ok: true });
    return value;
  } catch (cause) {
    const error = toApiError(cause, deadline);
    if (deadline.expired && connection !== undefined) {
      context.credentials.reconnect(connection);
    }
    // A caller whose own time was up says nothing about the server.
    const hurried = deadline.signal.aborted && !deadline.expired;
    turn.end(hurried ? undefined : toOutcome(error));
    throw error;
  } finally {
    turn.end();
  }
}

/** Sends a request; when the token is refused, once more with what is in the files now. */
async function sendTrusted(
  context: Context,
  call: Call,
  { connection, signal }: { connection: Connection; signal: AbortSignal },
): Promise<Response> {
  const response = await send(context, call, { connection, signal });
  if (response.status !== UNAUTHORIZED) return response;
  context.credentials.distrust(connection);
  const next = await context.credentials.connect();
  if (next === connection) return response;
  await discard(response);
  return await send(context, call, { connection: next, signal });
}

/** `fetch` takes a client, which the DOM's types do not know. */
type ClientInit = RequestInit & { client: Deno.HttpClient };

async function send(
  context: Context,
  call: Call,
  { connection, signal }: { connection: Connection; signal: AbortSignal },
): Promise<Response> {
  const { verb, ref, body } = call;
  const init: ClientInit = {
    method: METHODS[verb],
    headers: {
      ...connection.headers,
      accept: "application/json",
      "user-agent": context.userAgent,
      ...(body === undefined ? {} : {
        "content-type": verb === "patch" ? MERGE_PATCH : "application/json",
      }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    client: connection.client,
    redirect: "error",
    signal,
  };
  const startedAt = performance.now();
  let code = 0;
  try {
    const url = connection.server + formatPath(ref) + formatQuery(call.query);
    const response = await fetch(url, init);
    code = response.status;
    return response;
  } finally {
    const durationMs = performance.now() - startedAt;
    context.onRequest({ verb, resource: ref.type.resource, code, durationMs });
  }
}

const METHODS = {
  get: "GET",
  list: "GET",
  watch: "GET",
  create: "POST",
  patch: "PATCH",
} as const;

function formatQuery(query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) params.set(name, String(value));
  }
  return params.size === 0 ? "" : `?${params}`;
}

async function readJson(response: Response): Promise<unknown> {
  return JSON.parse(await readText(response, OBJECT_CHARS_MAX));
}

async function readList(
  response: Response,
  onItem: (item: unknown) => void,
): Promise<ListMeta> {
  const scanner = createItemScanner(onItem);
  await forEachText(response, (piece) => scanner.push(piece));
  const { metadata } = scanner.finish() as {
    metadata?: { resourceVersion?: string; continue?: string };
  };
  return {
    resourceVersion: metadata?.resourceVersion ?? "",
    continue: metadata?.continue || undefined,
  };
}

const UNAUTHORIZED = 401;
const REQUEST_TIMEOUT = 408;
const TOO_MANY_REQUESTS = 429;
const SERVER_ERROR = 500;

/** The error that an answer other than success stands for. */
async function toStatusError(
  response: Response,
): Promise<ApiStatusError | ApiUnavailableError> {
  const { status, headers } = response;
  const { reason, message } = await readStatus(response);
  const passing = status === UNAUTHORIZED || status === REQUEST_TIMEOUT ||
    status === TOO_MANY_REQUESTS || status >= SERVER_ERROR;
  if (!passing) return new ApiStatusError(status, reason, message);
  const retryAfterS = Number(headers.get("retry-after") ?? NaN);
  return new ApiUnavailableError(`the server answered ${status}: ${message}`, {
    status,
    ...(retryAfterS > 0 ? { retryAfterMs: retryAfterS * 1000 } : {}),
  });
}

/** A Status of the API, or whatever a proxy said in its place, as one short line. */
async function readStatus(
  response: Response,
): Promise<{ reason: string; message: string }> {
  const text = await readText(response, STATUS_CHARS_MAX).catch(() => "");
  const fallback = response.statusText || "no reason given";
  try {
    const status = JSON.parse(text) as { reason?: string; message?: string };
    const message = status.message || status.reason || fallback;
    return { reason: status.reason ?? "", message: oneLine(message) };
  } catch {
    return { reason: "", message: oneLine(text) || fallback };
  }
}

/** An event's text has room for a line, not for a page of HTML. */
const MESSAGE_CHARS_MAX = 300;

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim().slice(0, MESSAGE_CHARS_MAX);
}

/** One of the two errors, or the caller's own reason to stop. */
function toApiError(cause: unknown, deadline: Deadline): unknown {
  if (cause instanceof ApiStatusError || cause instanceof ApiUnavailableError) {
    return cause;
  }
  const { signal } = deadline;
  if (signal.aborted && !isTimeout(signal.reason)) return signal.reason;
  if (signal.aborted) {
    return new ApiUnavailableError("no answer in time", { cause });
  }
  if (cause instanceof SyntaxError || cause instanceof RangeError) {
    const reason = `the answer is not what was asked for: ${cause.message}`;
    return new ApiUnavailableError(reason, { cause });
  }
  return new ApiUnavailableError(transportReason(cause), { cause });
}

/** The innermost cause, without the words around it that name URL and library. */
function transportReason(error: unknown): string {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) {
    inner = inner.cause;
  }
  const message = inner instanceof Error ? inner.message : String(inner);
  return oneLine(
    message
      .replace(/^error sending request .*?: client error \((\w+)\): /, "")
      .replace(/ \(os error \d+\)$/, ""),
  );
}

/** What the pace learns; nothing from a caller who went away. */
function toOutcome(error: unknown): Outcome | undefined {
  if (error instanceof ApiStatusError) return { ok: true };
  if (!(error instanceof ApiUnavailableError)) return undefined;
  return {
    ok: false,
    reason: error.reason,
    ...(error.retryAfterMs === undefined
      ? {}
      : { retryAfterMs: error.retryAfterMs }),
  };
}

function isTimeout(reason: unknown): boolean {
  return reason instanceof DOMException && reason.name === "TimeoutError";
}
