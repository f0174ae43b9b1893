/**
 * The error for what a person wrote into an annotation. It names the place
 * (`networks[1].ips[0]`) first, so that whoever reads the event can put a
 * finger on it, and shows the value last, clipped.
 *
 * @module
 */

import { CniError, ErrorCode, quote } from "../cni/error.ts";

/** Something in an annotation that cannot be accepted; crosses to the runtime as code 7. */
export class AnnotationError extends CniError {
  /** The name of the class. */
  override readonly name = "AnnotationError";
  /** Where it stands, such as `networks[1].ips[0]`. */
  readonly place: string;

  /** Names the place, then the problem. */
  constructor(
    place: string,
    problem: string,
    options: { cause?: unknown } = {},
  ) {
    super(ErrorCode.invalidNetworkConfig, `${place}: ${problem}`, options);
    this.place = place;
  }
}

/** A JSON value as it is shown in a message: scalars quoted or as they are, the others by their kind. */
export function show(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  return String(value);
}

/** The error for a text that is not JSON, or is nested too deep to be meant. */
export function notJson(place: string, cause: unknown): AnnotationError {
  const reason = cause instanceof Error ? cause.message : "";
  return new AnnotationError(place, `not valid JSON: ${reason}`, { cause });
}
