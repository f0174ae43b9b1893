/**
 * The API's way to say no: a `Status` object with the fields that clients look at.
 *
 * @module
 */

/** Thrown by the stand-in where a real server answers with a Status. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly code: number;
  readonly reason: string;
  readonly details: Record<string, unknown>;

  constructor(
    code: number,
    message: string,
    options: { reason?: string; details?: Record<string, unknown> } = {},
  ) {
    super(message);
    this.code = code;
    this.reason = options.reason ?? REASONS[code] ?? "Unknown";
    this.details = options.details ?? {};
  }
}

/** The `reason` that a real server gives with each code. */
const REASONS: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  409: "Conflict",
  410: "Expired",
  415: "UnsupportedMediaType",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/** The Status object of an error. */
export function toStatus(error: StatusError): Record<string, unknown> {
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: error.message,
    reason: error.reason,
    details: error.details,
    code: error.code,
  };
}
