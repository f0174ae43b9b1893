/**
 * Reading one HTTP/1.1 request from bytes (RFC 9112): the request line, the
 * headers that an answer depends on, and a body that is counted or chunked.
 * Pure. Each connection carries one request: its answer says `Connection:
 * close`, so that nothing of one request can be taken for the next.
 *
 * @module
 */
import {
  findHeadEnd,
  type Framing,
  readBody,
  readField,
  readFraming,
} from "../wire/http_answer.ts";

/** The head of a request. */
export interface RequestHead extends Framing {
  /** GET, POST and so on, as written. */
  readonly method: string;
  /** What is asked for: a path, perhaps with a query. */
  readonly target: string;
  /** What the client calls itself; empty when it does not say. */
  readonly userAgent: string;
  /** The client waits to be told to send the body. */
  readonly expectsContinue: boolean;
  /** Where in the bytes the body begins. */
  readonly bodyAt: number;
}

/** The heads of shims have 200 bytes, those of Go's client 150. */
export const HEAD_BYTES_MAX = 8 * 1024;

/**
 * Reads the head from all bytes received so far; undefined while it is not complete.
 *
 * @throws {SyntaxError} If the bytes are not an HTTP/1.1 request
 * @throws {RangeError} If the head is larger than {@linkcode HEAD_BYTES_MAX}
 */
export function parseRequestHead(bytes: Uint8Array): RequestHead | undefined {
  const bodyAt = findHeadEnd(bytes);
  if ((bodyAt ?? bytes.length) > HEAD_BYTES_MAX) {
    throw new RangeError("Head of the request is too large");
  }
  if (bodyAt === undefined) return undefined;
  const text = new TextDecoder().decode(bytes.subarray(0, bodyAt - 4));
  const [requestLine = "", ...lines] = text.split("\r\n");
  let framing: Framing = { chunked: false };
  let userAgent = "";
  let expectsContinue = false;
  for (const line of lines) {
    const field = readField(line);
    const [name, value] = field;
    framing = readFraming(field, framing);
    if (name === "user-agent") userAgent = value;
    if (name === "expect") {
      expectsContinue = value.toLowerCase() === "100-continue";
    }
  }
  return {
    ...readRequestLine(requestLine),
    ...framing,
    userAgent,
    expectsContinue,
    bodyAt,
  };
}

function readRequestLine(
  line: string,
): Pick<RequestHead, "method" | "target"> {
  const [method = "", target = "", version, ...more] = line.split(" ");
  const isOurs = version === "HTTP/1.1" || version === "HTTP/1.0";
  if (isOurs && /^[A-Z]{1,16}$/.test(method) && more.length === 0) {
    return { method, target };
  }
  throw new SyntaxError("The request is not HTTP/1.1");
}

/**
 * The body from its first byte on; undefined while it is not complete. A request that announces none has none.
 *
 * @throws {SyntaxError} If its chunks are torn
 * @throws {RangeError} If it is larger than `bytesMax`
 */
export function parseRequestBody(
  bytes: Uint8Array,
  { chunked, length = 0 }: Framing,
  bytesMax: number,
): Uint8Array | undefined {
  return readBody(bytes, { chunked, length, ended: false, bytesMax });
}
