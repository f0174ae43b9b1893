/**
 * The unix socket that requests come through, with a bound on all that a client
 * may take: the time for its request, the length of its head, the number of
 * connections. What a request means is the handler's (`server.ts`), how it is
 * written `http_request.ts`'s. One request a connection, as shims ask.
 *
 * On `Deno.listen`, because `Deno.serve` bounds none of these (a client that
 * sends half a head keeps its connection for ever, and its end waits for such
 * a client), and `node:http` costs 4 MB of every node and hands the listening
 * socket on to plugins.
 *
 * Needs read, write and `net=unix:` of the socket, read and write of its directory.
 */
import { ask, ConnectionCutError, DaemonAbsentError } from "../wire/ask.ts";
import { type Question, writeAll } from "../wire/exchange.ts";
import { socketPathIn } from "../wire/places.ts";
import { REQUEST_BYTES_MAX } from "../wire/request.ts";
import {
  type HttpRequest,
  type HttpResponse,
  parseRequestBody,
  parseRequestHead,
  parseTarget,
  type RequestHead,
  textResponse,
} from "./http_request.ts";
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
  /** From connecting to the end of the head. */
  readonly headMs: number;
  /** From connecting to the end of the body, and again for taking the answer. */
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

/** What a shim sends fits in most cases. */
const BUFFER_BYTES = 8 * 1024;

/** How often connections are looked at: as exact as the limits need to be. */
const LOOK_MS = 1_000;

/** Until what failed is tried again: an accept while no descriptor is left, a look at a daemon that is going. */
const AGAIN_MS = 100;

/** An answer is written into a local socket at once, unless its client has stopped reading. */
const LAST_ANSWER_MS = 2_000;

/** In which those who are connected when the socket goes may still send their requests. */
const LAST_REQUESTS_MS = 100;

/**
 * What all requests that are being read may take together: configurations have a
 * few kB, so this is more requests than a node has pods, and far below the
 * daemon's memory limit.
 */
const BUFFERED_BYTES_MAX = 64 * 1024 * 1024;

/** Whoever serves says so at once, whatever else it does; one that swaps needs a second. */
const LIFE_SIGN_MS = 3_000;

/**
 * Removes a socket file that nobody serves. That somebody takes connections does not say that somebody
 * serves: a process that inherited the listening socket keeps it open when the daemon was killed.
 */
async function clearStaleSocket(path: string): Promise<void> {
  if (await isServed(path)) throw inUse(path);
  await removeFile(path);
}

/**
 * Whether a daemon serves a socket.
 *
 * Needs what serving it needs.
 *
 * @throws {SocketInUseError} When somebody is there who answers like no daemon.
 */
export async function isServed(path: string): Promise<boolean> {
  const signal = AbortSignal.timeout(LIFE_SIGN_MS);
  const question: Question = {
    socketPath: path,
    route: "/healthz",
    method: "GET",
  };
  for (;;) {
    try {
      await ask(question, { signal });
      return true;
    } catch (error) {
      if (signal.aborted || error instanceof DaemonAbsentError) return false;
      // One that is just going: soon it is gone, or it answers.
      if (!(error instanceof ConnectionCutError)) throw inUse(path, error);
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
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

/** Answers a request; its signal is aborted when the client goes away. */
export type Handler = (request: HttpRequest) => Promise<HttpResponse>;

/**
 * Serves `handler` on `<socketDir>/multus.sock`: the directory 0700, the socket 0600.
 *
 * @throws {SocketInUseError} when another daemon answers there.
 */
export async function serveSocket(
  socketDir: string,
  handler: Handler,
  limits: SocketLimits = SOCKET_LIMITS,
): Promise<Server> {
  const path = socketPathIn(socketDir);
  await Deno.mkdir(socketDir, { recursive: true, mode: 0o700 });
  // The directory may be there already, made by the kubelet for the mount and open to all.
  await Deno.chmod(socketDir, 0o700);
  await clearStaleSocket(path);
  const server = new SocketServer(path, handler, limits);
  await Deno.chmod(path, 0o600);
  return server;
}

/** One client. */
interface Connection {
  readonly conn: Deno.UnixConn;
  readonly openedAt: number;
  /** When its patience ends, in milliseconds of `performance.now()`. */
  deadline: number;
  /** Its request is there: it is owed an answer. */
  isAsked: boolean;
}

/** There is no room for a request; it may be sent again. */
class CrowdedError extends Error {}

/** A request as it came. */
interface Received {
  readonly head: RequestHead;
  readonly body: Uint8Array;
}

class SocketServer implements Server {
  readonly path: string;
  readonly #handler: Handler;
  readonly #limits: SocketLimits;
  readonly #listener: Deno.UnixListener;
  readonly #connections = new Set<Connection>();
  readonly #accepting: Promise<void>;
  #bufferedBytes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended: Promise<void> | undefined;
  #isClosed = false;
  #emptied: (() => void) | undefined;

  constructor(path: string, handler: Handler, limits: SocketLimits) {
    this.path = path;
    this.#handler = handler;
    this.#limits = limits;
    this.#listener = Deno.listen({ transport: "unix", path });
    this.#accepting = this.#accept();
  }

  shutdown(): Promise<void> {
    return this.#ended ??= this.#end();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  async #accept(): Promise<void> {
    for (;;) {
      try {
        this.#open(await this.#listener.accept());
      } catch {
        if (this.#isClosed) return;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  #open(conn: Deno.UnixConn): void {
    const openedAt = performance.now();
    const isFull = this.#connections.size >= this.#limits.connectionsMax;
    if (isFull || this.#isClosed) return conn.close();
    const deadline = openedAt + this.#limits.headMs;
    const connection = { conn, openedAt, deadline, isAsked: false };
    this.#connections.add(connection);
    this.#timer ??= setTimeout(() => this.#look(), LOOK_MS);
    this.#serve(connection)
      .catch(() => {}) // It has gone, or was too slow: nobody is there to be told.
      .finally(() => this.#close(connection));
  }

  #close(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    connection.conn.close();
    if (this.#connections.size === 0) this.#emptied?.();
  }

  /** Closes on those whose time is up. */
  #look(): void {
    const now = performance.now();
    for (const connection of this.#connections) {
      if (connection.deadline < now) this.#close(connection);
    }
    this.#timer = this.#connections.size === 0
      ? undefined
      : setTimeout(() => this.#look(), LOOK_MS);
  }

  async #serve(connection: Connection): Promise<void> {
    const { conn } = connection;
    const received = await this.#receive(connection);
    if (received === undefined) return;
    connection.isAsked = true;
    connection.deadline = Infinity;
    const gone = new AbortController();
    let isAnswered = false;
    const leave = (): void => {
      if (!isAnswered) {
        gone.abort(new DOMException("The client has gone", "AbortError"));
      }
    };
    drain(conn).then(leave, leave);
    const response = await this.#answer(received, gone.signal);
    const bytes = formatResponse(response, received.head.method);
    isAnswered = true;
    connection.deadline = performance.now() + this.#limits.requestMs;
    await writeAll(conn, bytes);
  }

  /** The whole request; undefined when it was refused, or the client has gone in the middle. */
  async #receive(connection: Connection): Promise<Received | undefined> {
    try {
      return await this.#read(connection);
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      await writeAll(connection.conn, formatResponse(refusal));
      return undefined;
    }
  }

  async #read(connection: Connection): Promise<Received | undefined> {
    const { conn, openedAt } = connection;
    let buffer = new Uint8Array(BUFFER_BYTES);
    let head: RequestHead | undefined;
    using held = this.#holdBytes();
    held.setTo(buffer.length);
    for (let length = 0;;) {
      if (length === buffer.length) {
        held.setTo(4 * buffer.length);
        buffer = enlarge(buffer);
      }
      const count = await conn.read(buffer.subarray(length));
      if (count === null) return undefined;
      length += count;
      const bytes = buffer.subarray(0, length);
      if (head === undefined) {
        head = parseRequestHead(bytes);
        if (head === undefined) continue;
        connection.deadline = openedAt + this.#limits.requestMs;
        if (head.expectsContinue) await writeAll(conn, CONTINUE);
      }
      const rest = bytes.subarray(head.bodyAt);
      // As much of a body that is too long as shows that it is; that is for the handler to say.
      if (rest.length > REQUEST_BYTES_MAX) return { head, body: rest };
      const body = parseRequestBody(rest, head, Infinity);
      if (body !== undefined) return { head, body: body.slice() };
    }
  }

  /** Counts the bytes of one buffer among those of all, until it is disposed of. */
  #holdBytes(): Disposable & { setTo(bytes: number): void } {
    let held = 0;
    return {
      setTo: (bytes) => {
        this.#bufferedBytes += bytes - held;
        held = bytes;
        if (this.#bufferedBytes > BUFFERED_BYTES_MAX) throw new CrowdedError();
      },
      [Symbol.dispose]: () => void (this.#bufferedBytes -= held),
    };
  }

  async #answer(
    { head, body }: Received,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const target = parseTarget(head);
    if (target === undefined) return textResponse(400, "Not a path\n");
    const { path, query } = target;
    const { method, userAgent } = head;
    const request = { method, path, query, userAgent, body, signal };
    try {
      return await this.#handler(request);
    } catch {
      return textResponse(500, "The daemon failed\n");
    }
  }

  async #end(): Promise<void> {
    this.#isClosed = true;
    // Removes the file, too, and now: what lies there later is another daemon's.
    this.#listener.close();
    if (this.#connections.values().some(({ isAsked }) => !isAsked)) {
      await new Promise((resolve) => setTimeout(resolve, LAST_REQUESTS_MS));
    }
    for (const connection of this.#connections) {
      if (!connection.isAsked) this.#close(connection);
    }
    const late = setTimeout(() => {
      for (const connection of this.#connections) this.#close(connection);
    }, LAST_ANSWER_MS);
    if (this.#connections.size > 0) {
      await new Promise<void>((resolve) => this.#emptied = resolve);
    }
    clearTimeout(late);
    clearTimeout(this.#timer);
    await this.#accepting;
  }
}

/** What is said to a client whose request could not be read; undefined when it is not its request that is wrong. */
function refusalOf(error: unknown): HttpResponse | undefined {
  if (error instanceof CrowdedError) {
    return textResponse(503, "too much is being asked at once\n");
  }
  if (error instanceof RangeError) return { status: 431, body: "" };
  if (error instanceof SyntaxError) return { status: 400, body: "" };
  return undefined;
}

const encoder = new TextEncoder();

const CONTINUE = encoder.encode("HTTP/1.1 100 Continue\r\n\r\n");

/** Reads until the client has gone; what it sends besides its request is nothing to us. */
async function drain(conn: Deno.UnixConn): Promise<void> {
  const buffer = new Uint8Array(64);
  while (await conn.read(buffer) !== null);
}

function enlarge(buffer: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(4 * buffer.length);
  larger.set(buffer);
  return larger;
}

/** What clients show of a status. */
const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** The bytes of a response; HEAD is answered with its head alone. */
function formatResponse(response: HttpResponse, method = "GET"): Uint8Array {
  const { status, body, contentType, allow } = response;
  let head = `HTTP/1.1 ${status} ${REASONS[status] ?? "Unknown"}\r\n`;
  if (allow !== undefined) head += `allow: ${allow}\r\n`;
  if (contentType !== undefined) head += `content-type: ${contentType}\r\n`;
  head += `date: ${new Date().toUTCString()}\r\n`;
  head += "connection: close\r\n";
  head += `content-length: ${encoder.encode(body).length}\r\n\r\n`;
  return encoder.encode(method === "HEAD" ? head : head + body);
}
