/**
 * The shape of what `multusctl attachments --output json` prints.
 */
import * as z from "zod/mini";

/** One attachment of one pod. */
export const AttachmentShape = z.strictObject({
  /** `<namespace>/<name>`; absent in a record of the Go daemon. */
  pod: z.optional(z.string()),
  containerId: z.string(),
  /** The network as network-status names it. */
  network: z.string(),
  interface: z.string(),
  /** With prefix length. */
  addresses: z.array(z.string()),
  mac: z.optional(z.string()),
  /** `todo`, `begun` (perhaps there), `done` (there), `undone`. */
  state: z.enum(["todo", "begun", "done", "undone"]),
  isDefault: z.boolean(),
  /** Why the pod got it; absent in a record of the Go daemon. */
  source: z.optional(z.string()),
  /** In ISO 8601; absent in a record of the Go daemon. */
  recordedAt: z.optional(z.string()),
});

/** What the command prints. */
export const AttachmentsReportShape = z.strictObject({
  attachments: z.array(AttachmentShape),
  /** Records that cannot be read. */
  damaged: z.array(
    z.strictObject({ containerId: z.string(), reason: z.string() }),
  ),
});

/** One attachment of one pod. */
export type ListedAttachment = z.infer<typeof AttachmentShape>;

/** What the command prints. */
export type AttachmentsReport = z.infer<typeof AttachmentsReportShape>;
