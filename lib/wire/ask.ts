/**
 * Asking the daemon: one HTTP/1.1 request over its unix socket, and the whole answer, whatever it is and in as
 * many pieces as it comes. The deadline is the caller's signal; when this process ends, however it ends, the
 * daemon sees the connection go.
 *
 * Needs read, write and `net=unix:` permission for the socket.
 *
 * @module
 */

import type { Answer } from "./answer.ts";
import { beginExchange, type Exchange, type Question } from "./exchange.ts";
import {
  ANSWER_BYTES_MAX,
  HEAD_BYTES_MAX,
  parseAnswer,
} from "./http_answer.ts";

/** Nobody listens on the socket, now. */
export class DaemonAbsentError extends Error {
  /** The name of the class. */
  override readonly name = "DaemonAbsentError";
}

/** The connection ended before the whole answer was there. */
export class ConnectionCutError extends Error {
  /** The name of the class. */
  override readonly name = "ConnectionCutError";
}

/**
 * Sends the request, unless it was `begun`, and reads the whole answer, whatever its status.
 *
 * @throws {DaemonAbsentError} If nobody listens
 * @throws {ConnectionCutError} If the connection ends early
 * @throws {SyntaxError} If the answer is not HTTP/1.1
 * @throws {RangeError} If the answer is too large
 * @throws the signal's reason when it is aborted
 */
export async function ask(
  question: Question,
  options: { signal: AbortSignal; begun?: Exchange | undefined },
): Promise<Answer> {
  const { signal, begun } = options;
  signal.throwIfAborted();
  const exchange = begun ??
    beginExchange(await connect(question.socketPath), question);
  using conn = exchange.conn;
  const received = receive(exchange);
  const onAbort = (): void => conn.close();
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort);
  try {
    return await received;
  } catch (error) {
    signal.throwIfAborted();
    throw isCut(error)
      ? new ConnectionCutError("Connection to the daemon was cut", {
        cause: error,
      })
      : error;
  } finally {
    signal.removeEventListener("abort", onAbort);
    if (!signal.aborted) conn.close();
    await exchange.sent;
  }
}

const ABSENT = [
  Deno.errors.NotFound,
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.WouldBlock,
];

/** The socket is missing, or left behind by a daemon that is gone or just going, or its queue of connections is full. */
async function connect(path: string): Promise<Deno.UnixConn> {
  try {
    return await Deno.connect({ transport: "unix", path });
  } catch (cause) {
    if (!ABSENT.some((kind) => cause instanceof kind)) throw cause;
    throw new DaemonAbsentError(`Nobody listens on ${path}`, { cause });
  }
}

/** What an answer may take on the wire: chunk framing can more than double a body in small pieces. */
const RECEIVED_BYTES_MAX = HEAD_BYTES_MAX + 4 * ANSWER_BYTES_MAX;

async function receive(exchange: Exchange): Promise<Answer> {
  let { buffer, first: reading } = exchange;
  for (let length = 0;;) {
    const count = await reading;
    length += count ?? 0;
    const answer = parseAnswer(buffer.subarray(0, length), {
      ended: count === null,
    });
    if (answer !== undefined) return answer;
    if (count === null) {
      throw new ConnectionCutError(
        "Daemon closed the connection before its answer was complete",
      );
    }
    if (length === buffer.length) buffer = grow(buffer);
    reading = exchange.conn.read(buffer.subarray(length));
  }
}

function grow(buffer: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (buffer.length >= RECEIVED_BYTES_MAX) {
    throw new RangeError("Answer of the daemon is too large");
  }
  const larger = new Uint8Array(buffer.length * 4);
  larger.set(buffer);
  return larger;
}

function isCut(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.ConnectionAborted;
}
