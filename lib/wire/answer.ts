/**
 * What the daemon says to the shim: the result of an ADD in an envelope, nothing for the other commands, and
 * an error as text. Turning an error into a CNI error, and a result into another version, is the shim's part.
 *
 * @module
 */

/** An HTTP answer, whole. */
export interface Answer {
  /** The status code. */
  readonly status: number;
  /** The body as text. */
  readonly body: string;
}

/** The answer's body to an ADD: the result in its envelope. */
export function encodeResult(
  result: Readonly<Record<string, unknown>>,
): string {
  return JSON.stringify({ Result: result });
}

/**
 * The result inside an ADD's answer, still unread.
 *
 * @throws {SyntaxError} If the body is not JSON
 * @throws {TypeError} If there is no result in it
 */
export function decodeResult(body: string): Record<string, unknown> {
  const envelope: unknown = JSON.parse(body);
  const result = isRecord(envelope) ? envelope.Result : undefined;
  if (!isRecord(result)) {
    throw new TypeError("Answer of the daemon holds no result");
  }
  return result;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
