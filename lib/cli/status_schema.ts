/**
 * The shape of what `multusctl status --output json` prints, and of the
 * daemon's `GET /status` within it. Members may be added there; none goes away
 * within a major version.
 */
import * as z from "zod/mini";
import type { StatusDocument } from "../daemon/observation.ts";
import type { Shape } from "./shape.ts";

/** What is installed for the runtime. */
export interface InstalledShim {
  /** Its file. */
  readonly path: string;
  /** It is the file that was built with this multusctl. */
  readonly same: boolean;
  /** Its version, where it is that file. */
  readonly version?: string;
}

/** What the command prints. */
export interface StatusReport {
  /** The version of multusctl, which is built together with shim and daemon. */
  readonly multusctl: string;
  /** Absent when no shim is installed. */
  readonly shim?: InstalledShim;
  /** What the daemon says. */
  readonly daemon: StatusDocument;
}

const Gauge = z.looseObject({ inFlight: z.number(), queued: z.number() });

const Problem = z.looseObject({
  kind: z.enum(["primary-missing", "not-effective", "indicator-missing"]),
  reason: z.string(),
});

/** The schema of what the daemon answers. */
export const StatusShape: Shape<StatusDocument> = z.looseObject({
  version: z.string(),
  deno: z.string(),
  startedAt: z.string(),
  ready: z.boolean(),
  checks: z.array(
    z.looseObject({ name: z.string(), ok: z.boolean(), reason: z.string() }),
  ),
  configPath: z.string(),
  configuration: z.exactOptional(z.looseObject({
    mode: z.enum(["auto", "copy", "off"]),
    file: z.exactOptional(z.string()),
    effective: z.boolean(),
    chosen: z.exactOptional(z.string()),
    reason: z.string(),
    problems: z.array(Problem),
    sha256: z.exactOptional(z.string()),
    changedAt: z.exactOptional(z.number()),
    repairs: z.number(),
  })),
  caches: z.array(z.looseObject({
    resource: z.string(),
    isSynced: z.boolean(),
    silentMs: z.number(),
  })),
  lanes: z.looseObject({
    add: Gauge,
    delete: Gauge,
    check: Gauge,
    gc: Gauge,
    status: Gauge,
  }),
  lastClient: z.exactOptional(z.string()),
  containers: z.number(),
  pendingTeardowns: z.number(),
  damagedRecords: z.array(z.string()),
  pendingStatuses: z.number(),
});

/** The schema of what the command prints. */
export const StatusReportShape: Shape<StatusReport> = z.strictObject({
  multusctl: z.string(),
  shim: z.exactOptional(z.strictObject({
    path: z.string(),
    version: z.exactOptional(z.string()),
    same: z.boolean(),
  })),
  daemon: z.custom<StatusDocument>((value) =>
    StatusShape.safeParse(value).success
  ),
});
