/**
 * The CNI error and its document on the wire (CNI specification, "Error").
 *
 * The policy for errors in this project:
 *
 * - An error that a runtime shall see under a code of its own is a
 *   {@linkcode CniError}, thrown where the cause is known and can be named.
 *   Everywhere else the nearest built-in is thrown: TypeError for a wrong shape,
 *   RangeError for a value out of range, SyntaxError for a text that cannot be
 *   parsed, or a named subclass that carries its data.
 * - Errors become a document in two places, and only there: the shim's `run` and
 *   the daemon's server, both by {@linkcode toErrorDocument}. What is no CniError
 *   comes out as 999 (internal); what was ended by a deadline or by the client
 *   going away as 11 (try again later).
 * - An error is thrown or logged, never both. It is caught only to add what the
 *   thrower could not know (which network, which interface), once, with the
 *   first error as `cause`; its code stays.
 * - What a delegate plugin reports keeps its code and words. Codes from 100 on
 *   are the plugin's own and never given out here.
 * - A message is for the person who reads the pod's event: the cause first, in
 *   sentence case without full stop, the thing named, the present value last,
 *   no whole configuration, no secret, no function name. `cause` is for the log
 *   and never leaves the process.
 * - A client may rely on the code, on one line of text, and on less than 1 kB.
 *
 * @module
 */

import { isJsonObject, type JsonObject } from "./json_text.ts";

/** The codes that the specification reserves. */
export const ErrorCode = {
  /** The version of the configuration, or the command in that version, is not supported. */
  incompatibleVersion: 1,
  /** A field of the configuration is not supported. */
  unsupportedField: 2,
  /** The container is unknown or does not exist. */
  unknownContainer: 3,
  /** A CNI variable of the environment is missing or invalid. */
  invalidEnvironment: 4,
  /** A file, socket or process could not be read, written or run. */
  ioFailure: 5,
  /** A text could not be decoded. */
  decodingFailure: 6,
  /** The network configuration is invalid. */
  invalidNetworkConfig: 7,
  /** Nothing is wrong for good: the runtime should try again later. */
  tryAgainLater: 11,
  /** STATUS: an ADD would not work now. */
  pluginNotAvailable: 50,
  /** STATUS: an ADD would not work now, and existing containers are limited. */
  limitedConnectivity: 51,
  /** Something unforeseen. */
  internal: 999,
} as const;

/** What a CniError can be given besides code and message. */
export interface CniErrorOptions {
  /** More for the reader, sent along as far as there is room. */
  readonly details?: string;
  /** What led to it; stays in the process. */
  readonly cause?: unknown;
}

/** An error that a runtime sees under its code. */
export class CniError extends Error {
  /** The name of the class; a subclass gives its own. */
  override readonly name: string = "CniError";
  /** One of {@linkcode ErrorCode}, or a plugin's own from 100 on. */
  readonly code: number;
  /** More for the reader, empty if there is none. */
  readonly details: string;

  /** Makes an error of the code. */
  constructor(code: number, message: string, options: CniErrorOptions = {}) {
    super(
      message,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.details = options.details ?? "";
  }
}

/** An error as it stands on the wire. */
export interface ErrorDocument {
  /** The version of the configuration that the command was given. */
  cniVersion: string;
  /** One of {@linkcode ErrorCode}, or a plugin's own from 100 on. */
  code: number;
  /** The cause, in one line. */
  msg: string;
  /** More, if there is more. */
  details?: string;
}

/** Kubernetes cuts an event's message at 1024 bytes; the runtime needs some for its own words. */
const DOCUMENT_BYTES_MAX = 999;
/** Longer than any version there is; a version that a stranger wrote must not crowd out the message. */
const VERSION_BYTES_MAX = 32;
/** Fewer bytes of details would tell nobody anything. */
const DETAILS_BYTES_MIN = 24;
/** `{"cniVersion":"","code":,"msg":"","details":""}` and a code of ten digits. */
const FRAME_BYTES = 57;
/** A value longer than this says no more to the person who reads it. */
const QUOTED_LENGTH_MAX = 48;

/**
 * Makes the document that a runtime gets for an error: one line of text each,
 * less than 1 kB in all as compact JSON; the details are cut first, then the end
 * of the message.
 */
export function toErrorDocument(
  error: unknown,
  cniVersion: string,
): ErrorDocument {
  const version = fit(clean(cniVersion), VERSION_BYTES_MAX);
  const room = DOCUMENT_BYTES_MAX - FRAME_BYTES - costOf(version);
  const msg = fit(clean(messageOf(error)) || "Unknown error", room);
  const document = { cniVersion: version, code: codeOf(error), msg };
  const left = room - costOf(msg);
  const details = error instanceof CniError ? clean(error.details) : "";
  const isWorthIt = costOf(details) <= left || left >= DETAILS_BYTES_MIN;
  if (details === "" || !isWorthIt) return document;
  return { ...document, details: fit(details, left) };
}

/**
 * Reads an error that a plugin or the daemon printed, or gives undefined when
 * the text is not an error document. A missing cniVersion is read as "".
 */
export function readErrorDocument(text: string): ErrorDocument | undefined {
  const value = parseObject(text);
  if (value === undefined) return undefined;
  const { cniVersion = "", code, msg, details } = value;
  if (typeof cniVersion !== "string" || typeof msg !== "string") {
    return undefined;
  }
  if (!isCode(code)) return undefined;
  const isDetailed = typeof details === "string" && details !== "";
  return { cniVersion, code, msg, ...(isDetailed ? { details } : {}) };
}

/**
 * Shows a value in a message: a string quoted, on one line, and cut when it is
 * long; another scalar as it is; of an array or object only that it is one, so
 * that no message holds a configuration.
 */
export function quote(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null) return "an object";
  if (typeof value !== "string") return String(value);
  const isLong = value.length > QUOTED_LENGTH_MAX;
  const shown = value.slice(0, QUOTED_LENGTH_MAX).toWellFormed();
  return JSON.stringify(isLong ? `${shown}…` : shown);
}

function codeOf(error: unknown): number {
  if (error instanceof CniError && isCode(error.code)) return error.code;
  const isEnded = error instanceof Error &&
    (error.name === "AbortError" || error.name === "TimeoutError");
  return isEnded ? ErrorCode.tryAgainLater : ErrorCode.internal;
}

function messageOf(error: unknown): string {
  if (typeof error === "string") return error;
  if (!(error instanceof Error)) return "";
  return typeof error.message === "string" ? error.message : "";
}

function isCode(code: unknown): code is number {
  return Number.isInteger(code) && Number(code) >= 0 &&
    Number(code) <= 0xffff_ffff;
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined; // not JSON, hence not an error document
  }
}

function clean(text: string): string {
  // Every character kept costs a byte at least, so what is beyond is cut anyway;
  // the factor leaves room for runs that become one space.
  const head = text.slice(0, 4 * DOCUMENT_BYTES_MAX);
  return head.toWellFormed().replace(
    // Control characters, line ends, and marks that turn the direction of what follows. In here, and not a
    // constant, because the engine takes 0.2 ms for this class: who has no error does not wait for it.
    /[\p{Cc}\s\u2028\u2029\u202a-\u202e\u2066-\u2069]+/gu,
    " ",
  ).trim();
}

/** Cuts a text so that it takes no more bytes than given inside a JSON string. */
function fit(text: string, bytesMax: number): string {
  if (costOf(text) <= bytesMax) return text;
  let out = "";
  let left = bytesMax - costOf("…");
  for (const char of text) {
    left -= costOf(char);
    if (left < 0) break;
    out += char;
  }
  return `${out}…`;
}

/** The bytes that a text takes inside a JSON string. */
function costOf(text: string): number {
  return new TextEncoder().encode(JSON.stringify(text)).length - 2;
}
