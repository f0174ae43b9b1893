/**
 * The shape of what `multusctl delete-pending --output json` prints.
 */
import * as z from "zod/mini";
import type { Shape } from "./shape.ts";

/** One DEL that waited. */
export interface PendingDelete {
  /** The sandbox. */
  readonly containerId: string;
  /** `<namespace>/<name>`, where the runtime said it. */
  readonly pod?: string;
  /** In ISO 8601. */
  readonly leftAt: string;
  /** What became of it. */
  readonly outcome: "waiting" | "done" | "failed" | "forgotten";
  /** Why it failed. */
  readonly reason?: string;
}

/** What the command prints. */
export interface PendingReport {
  /** Oldest first. */
  readonly pending: readonly PendingDelete[];
}

/** The schema of what the command prints. */
export const PendingReportShape: Shape<PendingReport> = z.strictObject({
  pending: z.array(z.strictObject({
    containerId: z.string(),
    pod: z.exactOptional(z.string()),
    leftAt: z.string(),
    outcome: z.enum(["waiting", "done", "failed", "forgotten"]),
    reason: z.exactOptional(z.string()),
  })),
});
