/**
 * The shape of what `multusctl validate --output json` prints.
 */
import * as z from "zod/mini";
import type { Shape } from "./shape.ts";

/** Something that is wrong, or probably not meant. */
export interface ValidationFinding {
  /** As it was given; `-` is standard input. */
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  /** Counted from 1. */
  readonly column: number;
  /** Only errors make the exit code 1. */
  readonly severity: "warning" | "error";
  /** What is wrong. */
  readonly message: string;
}

/** Something that was looked at. */
export interface CheckedObject {
  /** As it was given. */
  readonly file: string;
  /** Where it begins. */
  readonly line: number;
  /** Such as `Pod default/web`, `CNI configuration "cluster-net"`. */
  readonly what: string;
}

/** What the command prints. */
export interface ValidationReport {
  /** By file, in the order of their places. */
  readonly findings: readonly ValidationFinding[];
  /** What was looked at, in order. */
  readonly checked: readonly CheckedObject[];
}

/** The schema of what the command prints. */
export const ValidationReportShape: Shape<ValidationReport> = z.strictObject({
  findings: z.array(z.strictObject({
    file: z.string(),
    line: z.number(),
    column: z.number(),
    severity: z.enum(["warning", "error"]),
    message: z.string(),
  })),
  checked: z.array(z.strictObject({
    file: z.string(),
    line: z.number(),
    what: z.string(),
  })),
});
