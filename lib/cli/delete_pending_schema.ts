/**
 * The shape of what `multusctl delete-pending --output json` prints.
 */
import * as z from "zod/mini";

/** One DEL that waited. */
export const PendingShape = z.strictObject({
  containerId: z.string(),
  /** `<namespace>/<name>`, where the runtime said it. */
  pod: z.optional(z.string()),
  /** In ISO 8601. */
  leftAt: z.string(),
  outcome: z.enum(["waiting", "done", "failed", "forgotten"]),
  /** Why it failed. */
  reason: z.optional(z.string()),
});

/** What the command prints. */
export const PendingReportShape = z.strictObject({
  pending: z.array(PendingShape),
});

/** One DEL that waited. */
export type PendingDelete = z.infer<typeof PendingShape>;

/** What the command prints. */
export type PendingReport = z.infer<typeof PendingReportShape>;
