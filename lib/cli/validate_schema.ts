/**
 * The shape of what `multusctl validate --output json` prints.
 */
import * as z from "zod/mini";

/** Something that is wrong, or probably not meant. */
export const FindingShape = z.strictObject({
  /** As it was given; `-` is standard input. */
  file: z.string(),
  /** Counted from 1. */
  line: z.number(),
  /** Counted from 1. */
  column: z.number(),
  severity: z.enum(["warning", "error"]),
  message: z.string(),
});

/** What the command prints. */
export const ValidationReportShape = z.strictObject({
  findings: z.array(FindingShape),
  /** What was looked at, in order. */
  checked: z.array(z.strictObject({
    file: z.string(),
    line: z.number(),
    /** Such as `Pod default/web`, `CNI configuration cluster-net`. */
    what: z.string(),
  })),
});

/** Something that is wrong, or probably not meant. */
export type ValidationFinding = z.infer<typeof FindingShape>;

/** What the command prints. */
export type ValidationReport = z.infer<typeof ValidationReportShape>;
