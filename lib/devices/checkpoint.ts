/**
 * The kubelet's own note of the devices it gave to containers: the file its device manager writes, read where the
 * pod-resources socket is not to be had. It is the kubelet's private format, so it is only read, only as far as
 * needed, and never written.
 *
 * It is written from hash maps: neither containers nor devices stand in a meaningful order there, and the order differs
 * from one writing to the next.
 */

import * as z from "zod/mini";
import { CniError, ErrorCode } from "../cni/error.ts";
import { readTextWithin } from "./bounded_file.ts";
import type { ContainerDevices } from "./pod_resources_messages.ts";

/** Where the kubelet's device manager writes, unless the kubelet's root directory was moved. */
export const CHECKPOINT_FILE =
  "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint";

/**
 * Lists the devices of the pod with that UID, containers in the order of their names.
 *
 * Needs read permission for the file.
 *
 * @throws {CniError} code 6 when the file cannot be understood
 * @throws {Deno.errors.NotFound} when there is none
 */
export async function readCheckpoint(
  file: string,
  podUid: string,
): Promise<ContainerDevices[]> {
  const text = await readTextWithin(file, CHECKPOINT_BYTES_MAX);
  const entries = parseCheckpoint(text, file).filter((entry) =>
    entry.PodUID === podUid
  );
  return entries
    .map((entry) => ({
      containerName: entry.ContainerName,
      resourceName: entry.ResourceName,
      deviceIds: Object.values(entry.DeviceIDs ?? {}).flatMap((ids) =>
        ids ?? []
      ),
    }))
    .sort((a, b) => compareText(a.containerName, b.containerName));
}

/** As much as a pod-resources answer may have; a file of some thousand devices is a tenth of it. */
const CHECKPOINT_BYTES_MAX = 16 * 1024 * 1024;

/** Go writes an empty list or map as null. Kubelets before 1.20 wrote the IDs as one list, later ones by NUMA node. */
const Entry = z.object({
  PodUID: z.string(),
  ContainerName: z.string(),
  ResourceName: z.string(),
  DeviceIDs: z.nullish(z.union([
    z.pipe(
      z.array(z.string()),
      z.transform((ids): Record<string, string[] | null> => ({ all: ids })),
    ),
    z.record(z.string(), z.nullable(z.array(z.string()))),
  ])),
});

const Checkpoint = z.object({
  Data: z.object({ PodDeviceEntries: z.nullish(z.array(Entry)) }),
});

function parseCheckpoint(text: string, file: string): z.infer<typeof Entry>[] {
  const checkpoint = Checkpoint.safeParse(parseJson(text, file));
  if (checkpoint.success) return checkpoint.data.Data.PodDeviceEntries ?? [];
  // Of the error no more is named than this: its class would bring 380 kB of zod into the program.
  const { error: { issues: [issue] }, error } = checkpoint;
  const place = formatPath(issue?.path ?? []) || "top level";
  throw unreadable(`${issue?.message ?? "Invalid"} at ${place}`, file, error);
}

/** As in JavaScript: `Data.PodDeviceEntries[0].DeviceIDs`. */
function formatPath(path: readonly PropertyKey[]): string {
  const parts = path.map((key) =>
    typeof key === "number" ? `[${key}]` : `.${String(key)}`
  );
  return parts.join("").replace(/^\./, "");
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw unreadable(String(cause), file, cause);
  }
}

function unreadable(reason: string, file: string, cause: unknown): CniError {
  return new CniError(
    ErrorCode.decodingFailure,
    `Checkpoint of the kubelet cannot be read: ${reason} in "${file}"`,
    { cause },
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
