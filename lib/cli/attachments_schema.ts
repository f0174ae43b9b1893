/**
 * The shape of what `multusctl attachments --output json` prints.
 */
import * as z from "zod/mini";
import type { Shape } from "./shape.ts";

/** One attachment of one pod. */
export interface ListedAttachment {
  /** `<namespace>/<name>`; absent in a record of the Go daemon. */
  readonly pod?: string;
  /** The sandbox. */
  readonly containerId: string;
  /** The network as network-status names it. */
  readonly network: string;
  /** The interface in the pod. */
  readonly interface: string;
  /** With prefix length. */
  readonly addresses: readonly string[];
  /** The interface's hardware address. */
  readonly mac?: string;
  /** Not begun, perhaps there, there, gone again. */
  readonly state: "todo" | "begun" | "done" | "undone";
  /** Whether it is the pod's default network. */
  readonly isDefault: boolean;
  /** Why the pod got it; absent in a record of the Go daemon. */
  readonly source?: string;
  /** In ISO 8601; absent in a record of the Go daemon. */
  readonly recordedAt?: string;
}

/** A record that cannot be read. */
export interface DamagedRecord {
  /** The sandbox. */
  readonly containerId: string;
  /** What is wrong with the record. */
  readonly reason: string;
}

/** What the command prints. */
export interface AttachmentsReport {
  /** In order of pod and interface. */
  readonly attachments: readonly ListedAttachment[];
  /** Records that cannot be read. */
  readonly damaged: readonly DamagedRecord[];
}

/** The schema of what the command prints. */
export const AttachmentsReportShape: Shape<AttachmentsReport> = z.strictObject({
  attachments: z.array(z.strictObject({
    pod: z.exactOptional(z.string()),
    containerId: z.string(),
    network: z.string(),
    interface: z.string(),
    addresses: z.array(z.string()),
    mac: z.exactOptional(z.string()),
    state: z.enum(["todo", "begun", "done", "undone"]),
    isDefault: z.boolean(),
    source: z.exactOptional(z.string()),
    recordedAt: z.exactOptional(z.string()),
  })),
  damaged: z.array(
    z.strictObject({ containerId: z.string(), reason: z.string() }),
  ),
});
