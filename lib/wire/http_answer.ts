/**
 * Reading one HTTP/1.1 answer from bytes: status line, headers, and a body that is counted, chunked, or ends
 * with the connection (RFC 9112, sections 4 to 7). Pure, and just enough for an exchange that is asked for with
 * `Connection: close`: no interim answers, no trailers kept, no content codings. What requests are framed by is
 * the same, so the daemon reads them with parts of it (`lib/daemon/http_request.ts`).
 *
 * @module
 */

import type { Answer } from "./answer.ts";

/** Largest head: two lines and a few headers are a few hundred bytes, Go's server stays below 8 kB. */
export const HEAD_BYTES_MAX = 16 * 1024;

/** Largest body: an ADD's result is a few kB; 1 MiB is what a plugin's output is bounded by, too. */
export const ANSWER_BYTES_MAX = 1024 * 1024;

const CR = 13;
const LF = 10;

/**
 * Reads the answer from all bytes received so far. `ended` tells that no more will come.
 *
 * @returns undefined while it is not complete
 * @throws {SyntaxError} If the bytes are not an HTTP/1.1 answer
 * @throws {RangeError} If head or body are larger than their limits
 */
export function parseAnswer(
  bytes: Uint8Array,
  options: { ended: boolean },
): Answer | undefined {
  const bodyStart = findBody(bytes);
  if (bodyStart === undefined) return undefined;
  const head = readHead(bytes.subarray(0, bodyStart));
  const body = readBody(bytes.subarray(bodyStart), {
    ...head,
    ended: options.ended,
    bytesMax: ANSWER_BYTES_MAX,
  });
  return body && { status: head.status, body: new TextDecoder().decode(body) };
}

/** Where a body ends. */
export interface Framing {
  /** Bytes that are announced. */
  readonly length?: number | undefined;
  /** It comes in chunks. */
  readonly chunked: boolean;
}

interface Head extends Framing {
  readonly status: number;
}

function findBody(bytes: Uint8Array): number | undefined {
  const end = findHeadEnd(bytes);
  if (end === undefined) assertHeadBegun(bytes);
  return end;
}

/** Where the head has ended and the body begins; undefined while there is no empty line. */
export function findHeadEnd(bytes: Uint8Array): number | undefined {
  const end = Math.min(bytes.length, HEAD_BYTES_MAX);
  for (
    let at = bytes.indexOf(LF);
    at >= 0 && at < end;
    at = bytes.indexOf(LF, at + 1)
  ) {
    if (bytes[at - 1] === CR && bytes[at - 2] === LF && bytes[at - 3] === CR) {
      return at + 1;
    }
  }
  return undefined;
}

/** Rubbish is refused by its first bytes, instead of being waited for. */
function assertHeadBegun(bytes: Uint8Array): void {
  if (bytes.length >= HEAD_BYTES_MAX) {
    throw new RangeError(
      `Head of the answer is larger than ${HEAD_BYTES_MAX} bytes`,
    );
  }
  const start = new TextDecoder().decode(bytes.subarray(0, 7));
  if (!"HTTP/1.".startsWith(start)) {
    throw new SyntaxError("Answer of the daemon is not HTTP/1.1");
  }
}

function readHead(bytes: Uint8Array): Head {
  const [statusLine = "", ...lines] = new TextDecoder().decode(bytes).slice(
    0,
    -4,
  ).split("\r\n");
  const status = readStatus(statusLine);
  let framing: Framing = { chunked: false };
  for (const line of lines) framing = readFraming(readField(line), framing);
  return { status, ...framing, ...(status === 204 ? { length: 0 } : {}) };
}

/** One line of a head: the name in lower case, and the value. */
export type Field = readonly [name: string, value: string];

/**
 * Reads a line of a head.
 *
 * @throws {SyntaxError} If it is none
 */
export function readField(line: string): Field {
  const [, name, value = ""] =
    /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
  if (name === undefined) {
    throw new SyntaxError("Header of the answer cannot be read");
  }
  return [name.toLowerCase(), value];
}

/**
 * What one more line says of where the body ends.
 *
 * @throws {SyntaxError} If it cannot be understood, or contradicts what was said before
 */
export function readFraming([name, value]: Field, before: Framing): Framing {
  if (name === "content-length") {
    return { ...before, length: readLength(value, before.length) };
  }
  if (name === "transfer-encoding") {
    return { ...before, chunked: readCoding(value) };
  }
  return before;
}

function readStatus(line: string): number {
  const status = /^HTTP\/1\.[01] ([1-5][0-9]{2})(?: .*)?$/.exec(line)?.[1];
  if (status !== undefined) return Number(status);
  throw new SyntaxError("Answer of the daemon is not HTTP/1.1");
}

function readLength(value: string, before: number | undefined): number {
  const length = /^[0-9]{1,15}$/.test(value) ? Number(value) : Number.NaN;
  if (Number.isNaN(length) || (before !== undefined && before !== length)) {
    throw new SyntaxError(
      `Length of the answer cannot be read: ${value.slice(0, 32)}`,
    );
  }
  return length;
}

function readCoding(value: string): boolean {
  if (value.toLowerCase() !== "chunked") {
    throw new SyntaxError(
      `Transfer coding of the answer is not known: ${value.slice(0, 32)}`,
    );
  }
  return true;
}

/**
 * The body from its first byte on; undefined while it is not complete.
 *
 * @throws {SyntaxError} If its chunks are torn
 * @throws {RangeError} If it is larger than `bytesMax`
 */
export function readBody(
  bytes: Uint8Array,
  options: Framing & { readonly ended: boolean; readonly bytesMax: number },
): Uint8Array | undefined {
  const { chunked, length, ended, bytesMax } = options;
  if (chunked) return readChunks(bytes, bytesMax);
  assertBodySize(length ?? bytes.length, bytesMax);
  if (length !== undefined) {
    return bytes.length < length ? undefined : bytes.subarray(0, length);
  }
  return ended ? bytes : undefined;
}

function readChunks(
  bytes: Uint8Array,
  bytesMax: number,
): Uint8Array | undefined {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for (let at = 0;;) {
    if (chunks.length > CHUNKS_MAX) {
      throw new RangeError(`Body comes in more than ${CHUNKS_MAX} chunks`);
    }
    const lineEnd = bytes.indexOf(LF, at);
    if (lineEnd < 0) return assertChunkLine(bytes.subarray(at));
    const size = readChunkSize(bytes.subarray(at, lineEnd + 1));
    total += size;
    assertBodySize(total, bytesMax);
    const start = lineEnd + 1;
    if (size === 0) {
      return endsAfterTrailers(bytes, start)
        ? concat(chunks, total)
        : undefined;
    }
    if (bytes.length < start + size + 2) return undefined;
    if (bytes[start + size] !== CR || bytes[start + size + 1] !== LF) {
      throw new SyntaxError("Chunk of the answer is torn");
    }
    chunks.push(bytes.subarray(start, start + size));
    at = start + size + 2;
  }
}

/** Programs send some kilobytes at once. With each read all chunks are read again, which must not become much work. */
const CHUNKS_MAX = 2_000;

/** 8 hexadecimal digits, an extension that nobody sends, CR and LF: more than this is no chunk's first line. */
const CHUNK_LINE_BYTES_MAX = 256;

function assertChunkLine(line: Uint8Array): undefined {
  if (line.length > CHUNK_LINE_BYTES_MAX) {
    throw new SyntaxError("Chunk of the answer has no size");
  }
}

function readChunkSize(line: Uint8Array): number {
  assertChunkLine(line);
  const size = /^([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n$/.exec(
    new TextDecoder().decode(line),
  )?.[1];
  if (size === undefined) {
    throw new SyntaxError("Chunk of the answer has no size");
  }
  return Number.parseInt(size, 16);
}

/** Trailer lines, if any, end with an empty line like a head. */
function endsAfterTrailers(bytes: Uint8Array, start: number): boolean {
  if (bytes.length - start > HEAD_BYTES_MAX) {
    throw new RangeError(
      `Trailer of the answer is larger than ${HEAD_BYTES_MAX} bytes`,
    );
  }
  for (let at = start;;) {
    const lineEnd = bytes.indexOf(LF, at);
    if (lineEnd < 0) return false;
    if (lineEnd - at <= 1) return true;
    at = lineEnd + 1;
  }
}

function concat(chunks: readonly Uint8Array[], total: number): Uint8Array {
  const whole = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function assertBodySize(size: number, bytesMax: number): void {
  if (size > bytesMax) {
    throw new RangeError(
      `Answer of the daemon is larger than ${bytesMax} bytes`,
    );
  }
}
