/**
 * The shape of what `multusctl doctor --output json` prints.
 */
import * as z from "zod/mini";

/** Which part of the node was looked at; the names are stable. */
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

/** What was found by one check. */
export const DoctorFindingShape = z.strictObject({
  check: z.enum(DOCTOR_CHECKS),
  severity: z.enum(["ok", "info", "warning", "error"]),
  /** What it is about: a file, a network, a link; the check's name when all is well. */
  subject: z.string(),
  message: z.string(),
  /** What to do; absent when there is nothing to do. */
  remedy: z.optional(z.string()),
});

/** What the command prints. */
export const DoctorReportShape = z.strictObject({
  node: z.string(),
  findings: z.array(DoctorFindingShape),
  errors: z.number(),
  warnings: z.number(),
});

/** What was found by one check. */
export type DoctorFinding = z.infer<typeof DoctorFindingShape>;

/** What the command prints. */
export type DoctorReport = z.infer<typeof DoctorReportShape>;

/** A finding before it is known which check it belongs to. */
export type Finding = Omit<DoctorFinding, "check">;
