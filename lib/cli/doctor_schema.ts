/**
 * The shape of what `multusctl doctor --output json` prints.
 */
import * as z from "zod/mini";
import { SEVERITIES, type Severity } from "./output.ts";
import type { Shape } from "./shape.ts";

/** What is looked at, in this order; the names are stable. */
export const DOCTOR_CHECKS = [
  "configuration",
  "directories",
  "namespaces",
  "daemon",
  "api",
  "rbac",
  "credentials",
  "clock",
  "proxy",
  "networks",
  "plugins",
  "masters",
  "pods",
  "addresses",
  "interfaces",
] as const;

/** The name of a check. */
export type DoctorCheck = typeof DOCTOR_CHECKS[number];

/** A finding, before it is said which check it is of. */
export interface Finding {
  /** How bad it is; only errors make the exit code 1. */
  readonly severity: Severity;
  /** What it is about: a file, a network, a link; the check's name when all is well. */
  readonly subject: string;
  /** What is wrong. */
  readonly message: string;
  /** What to do; absent when there is nothing to do. */
  readonly remedy?: string;
}

/** A finding of a check. */
export interface DoctorFinding extends Finding {
  /** Which check found it. */
  readonly check: DoctorCheck;
}

/** What the command prints. */
export interface DoctorReport {
  /** The node's name; empty when nobody told it. */
  readonly node: string;
  /** In the order of the checks; at least one of each that was made. */
  readonly findings: readonly DoctorFinding[];
  /** How many are errors. */
  readonly errors: number;
  /** How many are warnings. */
  readonly warnings: number;
}

/** The schema of what the command prints. */
export const DoctorReportShape: Shape<DoctorReport> = z.strictObject({
  node: z.string(),
  findings: z.array(z.strictObject({
    check: z.enum(DOCTOR_CHECKS),
    severity: z.enum(SEVERITIES),
    subject: z.string(),
    message: z.string(),
    remedy: z.exactOptional(z.string()),
  })),
  errors: z.number(),
  warnings: z.number(),
});
