/**
 * The unix socket that requests come through, with a bound on all that a client
 * may take: the time for its request, the length of its head, the number of
 * connections. What a request means is the handler's (`server.ts`).
 *
 * Served by `node:http`, because `Deno.serve` bounds none of these: a client
 * that sends half a head keeps its connection for ever, and its end waits for
 * such a client.
 *
 * Needs read, write and `net=unix:` of the socket, read and write of its directory.
 */
import {
  createServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from "node:http";
import { ask, DaemonAbsentError } from "../wire/ask.ts";
import { socketPathIn } from "../wire/places.ts";
import { REQUEST_BYTES_MAX } from "../wire/request.ts";
import { WAITING_MAX } from "./limits.ts";

/** Another daemon serves the socket. */
export class SocketInUseError extends Error {
  /** Tells it from other errors. */
  override readonly name = "SocketInUseError";
}

/** A server that runs. */
export interface Server extends AsyncDisposable {
  /** Path of the socket. */
  readonly path: string;
  /** Resolves when the last request is answered and the socket is gone; who does not take its answer is not waited for. */
  shutdown(): Promise<void>;
}

/** What a client may take. */
export interface SocketLimits {
  /** Connections at once; one more is closed at once. */
  readonly connectionsMax: number;
  /** From the first byte to the end of the head. */
  readonly headMs: number;
  /** From the first byte to the end of the body. */
  readonly requestMs: number;
}

/**
 * Twice the longest queue of ADDs, so that a full one leaves half of the room
 * to all others. Shims are on this machine and send at once: ten seconds is a
 * machine that swaps, thirty is none.
 */
export const SOCKET_LIMITS: SocketLimits = {
  connectionsMax: 2 * WAITING_MAX,
  headMs: 10_000,
  requestMs: 30_000,
};

/** The heads of shims have 200 bytes, those of Go's client 150. */
const HEAD_BYTES_MAX = 8 * 1024;

/** How often connections are looked at: as exact as the limits need to be. */
const LOOK_MS = 1_000;

/** An answer is written into a local socket at once, unless its client has stopped reading. */
const LAST_ANSWER_MS = 2_000;

/** Whoever serves says so at once, whatever else it does; one that swaps needs a second. */
const LIFE_SIGN_MS = 3_000;

/**
 * Removes a socket file that nobody serves. That somebody takes connections does not say that somebody
 * serves: a plugin inherits the listening socket (`node:http` opens it so), and keeps it open when the
 * daemon that started it was killed.
 */
async function clearStaleSocket(path: string): Promise<void> {
  const signal = AbortSignal.timeout(LIFE_SIGN_MS);
  try {
    const route = "/healthz";
    await ask({ socketPath: path, route, method: "GET" }, { signal });
  } catch (error) {
    if (!signal.aborted && !(error instanceof DaemonAbsentError)) {
      throw inUse(path, error);
    }
    return await removeFile(path);
  }
  throw inUse(path);
}

function inUse(path: string, cause?: unknown): SocketInUseError {
  const message =
    `Another daemon serves this socket: ${path}: is there a second multus DaemonSet?`;
  return new SocketInUseError(message, { cause });
}

async function removeFile(path: string): Promise<void> {
  await Deno.remove(path).catch((error: unknown) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

/**
 * Serves `handler` on `<socketDir>/multus.sock`: the directory 0700, the socket 0600.
 *
 * @throws {SocketInUseError} when another daemon answers there.
 */
export async function serveSocket(
  socketDir: string,
  handler: (request: Request) => Promise<Response>,
  limits: SocketLimits = SOCKET_LIMITS,
): Promise<Server> {
  const path = socketPathIn(socketDir);
  await Deno.mkdir(socketDir, { recursive: true, mode: 0o700 });
  // The directory may be there already, made by the kubelet for the mount and open to all.
  await Deno.chmod(socketDir, 0o700);
  await clearStaleSocket(path);
  const server = createServer({
    headersTimeout: limits.headMs,
    requestTimeout: limits.requestMs,
    connectionsCheckingInterval: LOOK_MS,
    maxHeaderSize: HEAD_BYTES_MAX,
  });
  server.maxConnections = limits.connectionsMax;
  server.on(
    "request",
    (incoming: IncomingMessage, outgoing: ServerResponse) => {
      answer(incoming, outgoing, handler).catch(() => outgoing.destroy());
    },
  );
  await listen(server, path);
  await Deno.chmod(path, 0o600);
  let ended: Promise<void> | undefined;
  const shutdown = (): Promise<void> => ended ??= end(server, path);
  return { path, shutdown, [Symbol.asyncDispose]: shutdown };
}

function listen(server: HttpServer, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(path, () => {
    server.off("error", reject);
    resolve();
  });
  return promise;
}

async function end(server: HttpServer, path: string): Promise<void> {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeIdleConnections();
  const late = setTimeout(() => server.closeAllConnections(), LAST_ANSWER_MS);
  await closed;
  clearTimeout(late);
  await removeFile(path);
}

async function answer(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  handler: (request: Request) => Promise<Response>,
): Promise<void> {
  const gone = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) {
      gone.abort(new DOMException("The client has gone", "AbortError"));
    }
  });
  const body = await readBody(incoming);
  if (body === undefined) return;
  const request = toRequest(incoming, { body, signal: gone.signal });
  const response = request === undefined
    ? new Response("Not a path\n", { status: 400 })
    : await handler(request);
  const bytes = new Uint8Array(await response.arrayBuffer());
  outgoing.writeHead(response.status, {
    ...Object.fromEntries(response.headers),
    "content-length": bytes.length,
    // What is left of a body that is too long would be taken for the next request.
    ...(body.length > REQUEST_BYTES_MAX ? { connection: "close" } : {}),
  });
  outgoing.end(bytes);
}

/** The body, or as much of it as shows that it is too long; `undefined` when its client went away in the middle. */
function readBody(incoming: IncomingMessage): Promise<Uint8Array | undefined> {
  const { promise, resolve } = Promise.withResolvers<Uint8Array | undefined>();
  const chunks: Uint8Array[] = [];
  let length = 0;
  incoming.on("data", (chunk: Uint8Array) => {
    if (length > REQUEST_BYTES_MAX) return; // Not kept.
    chunks.push(chunk);
    length += chunk.length;
    if (length > REQUEST_BYTES_MAX) resolve(join(chunks, length));
  });
  incoming.on("end", () => resolve(join(chunks, length)));
  incoming.on("error", () => resolve(undefined));
  incoming.on("close", () => resolve(undefined));
  return promise;
}

function join(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** The request as a value; `undefined` when its path is none. */
function toRequest(
  incoming: IncomingMessage,
  { body, signal }: { body: Uint8Array; signal: AbortSignal },
): Request | undefined {
  const { method = "GET", url = "/", headers } = incoming;
  const hasBody = method !== "GET" && method !== "HEAD";
  try {
    return new Request(new URL(url, "http://multus"), {
      method,
      signal,
      // Who asks is the only header that an answer depends on.
      headers: { "user-agent": headers["user-agent"] ?? "" },
      ...(hasBody ? { body: body as BodyInit } : {}),
    });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return undefined;
  }
}
