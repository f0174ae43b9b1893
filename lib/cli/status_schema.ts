/**
 * The shape of what `multusctl status --output json` prints, and of the
 * daemon's `GET /status` within it. Members may be added; none goes away
 * within a major version.
 */
import * as z from "zod/mini";

const Gauge = z.object({ inFlight: z.number(), queued: z.number() });

/** What the daemon answers. */
export const StatusShape = z.looseObject({
  version: z.string(),
  deno: z.string(),
  startedAt: z.string(),
  ready: z.boolean(),
  checks: z.array(
    z.object({ name: z.string(), ok: z.boolean(), reason: z.string() }),
  ),
  configPath: z.string(),
  configuration: z.optional(z.object({
    mode: z.enum(["auto", "copy", "off"]),
    file: z.optional(z.string()),
    effective: z.boolean(),
    chosen: z.optional(z.string()),
    reason: z.string(),
    problems: z.array(z.object({ kind: z.string(), reason: z.string() })),
    sha256: z.optional(z.string()),
    changedAt: z.optional(z.number()),
    repairs: z.number(),
  })),
  caches: z.array(z.object({
    resource: z.string(),
    isSynced: z.boolean(),
    silentMs: z.number(),
  })),
  lanes: z.record(z.string(), Gauge),
  containers: z.number(),
  pendingTeardowns: z.number(),
  damagedRecords: z.array(z.string()),
  pendingStatuses: z.number(),
});

/** What the daemon answers. */
export type DaemonStatus = z.infer<typeof StatusShape>;

/** What the command prints. */
export const StatusReportShape = z.strictObject({
  /** The version of multusctl, which is built together with shim and daemon. */
  multusctl: z.string(),
  /** What is installed for the runtime; absent when nothing is. */
  shim: z.optional(z.object({
    path: z.string(),
    version: z.optional(z.string()),
    /** It is the file that was built with this multusctl. */
    same: z.boolean(),
  })),
  daemon: StatusShape,
});

/** What the command prints. */
export type StatusReport = z.infer<typeof StatusReportShape>;
