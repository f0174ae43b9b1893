/**
 * Parses JSON that came from outside: a configuration, a result. What it means is
 * left to the callers.
 *
 * @module
 */

import { CniError, ErrorCode } from "./error.ts";

/**
 * Parses a text; `what` says in the error what it should have been.
 *
 * @throws {CniError} with code 6 if it is not JSON
 */
export function decodeJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "";
    throw new CniError(
      ErrorCode.decodingFailure,
      `${what} is not JSON: ${reason}`,
      { cause },
    );
  }
}
