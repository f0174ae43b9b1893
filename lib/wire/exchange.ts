/**
 * One HTTP/1.1 request on its way over a unix connection, written by hand, because `fetch` and `node:http` cost a
 * multiple of the whole call at start-up. It is sent and the first bytes of the answer are asked for; whoever
 * began it may leave the rest to somebody else.
 *
 * Needs nothing: the connection is there.
 *
 * @module
 */

import { PROGRAM_VERSION } from "./program_version.ts";

/** A request to be sent. */
export interface Question {
  /** Where the daemon listens. */
  readonly socketPath: string;
  /** The path that is asked for. */
  readonly route: string;
  /** POST if not given. */
  readonly method?: "GET" | "POST";
  /** Empty if not given. */
  readonly body?: string;
}

/** A request that is on its way. */
export interface Exchange {
  /** What it goes over. */
  readonly conn: Deno.UnixConn;
  /** Ends when all was written, or cannot be; it fails never. */
  readonly sent: Promise<void>;
  /** Where the first bytes of the answer come to stand. */
  readonly buffer: Uint8Array<ArrayBuffer>;
  /** How many they are; null when the connection ended. */
  readonly first: Promise<number | null>;
}

/** An ADD's answer with a few interfaces fits. */
const BUFFER_BYTES = 16 * 1024;

/** Begins to send the request, and to wait for the answer. */
export function beginExchange(
  conn: Deno.UnixConn,
  question: Question,
): Exchange {
  const buffer = new Uint8Array(BUFFER_BYTES);
  // A daemon that refuses early may answer without having read everything: the answer counts, not the write.
  const sent = writeAll(conn, formatQuestion(question)).catch(() => {});
  return { conn, sent, buffer, first: conn.read(buffer) };
}

function formatQuestion(question: Question): Uint8Array {
  const { method = "POST", route, body = "" } = question;
  const bytes = new TextEncoder().encode(body);
  const head = new TextEncoder().encode(
    `${method} ${route} HTTP/1.1\r\nHost: multus\r\nConnection: close\r\n` +
      `User-Agent: multus-shim/${PROGRAM_VERSION}\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${bytes.length}\r\n\r\n`,
  );
  const whole = new Uint8Array(head.length + bytes.length);
  whole.set(head);
  whole.set(bytes, head.length);
  return whole;
}

/** Writes all of it, in as many pieces as the connection takes. */
export async function writeAll(
  conn: Deno.UnixConn,
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += await conn.write(bytes.subarray(at));
  }
}
