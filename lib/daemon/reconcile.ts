/**
 * What the daemon puts right after its start, by the records: attachments of
 * an ADD or DEL that a crash interrupted are undone, network-status that never
 * arrived is written, and pods that run without the networks they asked for
 * are reported. Everything runs beside the requests, in the same lanes.
 */
import type { Pod } from "../kube/objects.ts";
import {
  NETWORK_STATUS_ANNOTATION,
  NETWORKS_ANNOTATION,
} from "../kube/objects.ts";
import type { Log } from "../log.ts";
import {
  type AttachmentTools,
  type ContainerArgs,
  detachAll,
  type DetachFailure,
} from "./attachments.ts";
import type { ClusterLink } from "./cluster_link.ts";
import { laterNetns } from "./later_netns.ts";
import {
  createTask,
  type OperationParts,
  toolsOf,
  undo,
  UNDO_MS,
} from "./operations.ts";
import type { AttachmentRecord } from "./record_format.ts";
import type { RecordHandle } from "./records.ts";
import { type Call, toRequest } from "./server.ts";

/** What was found and put right. */
export interface Reconciled {
  /** Containers whose interrupted attachments were undone. */
  readonly undone: number;
  /** Pods whose status is written again. */
  readonly republished: number;
  /** Pods that run without networks they asked for. */
  readonly bare: number;
  /** Records that could not be read. */
  readonly damaged: number;
}

/** How long the caches of the API server are waited for before statuses are compared; requests do not wait. */
const SYNC_WAIT_MS = 120_000;

/** Whether an operation on this record was interrupted: a finished one is all "done". */
function isInterrupted(record: AttachmentRecord): boolean {
  return record.origin === "own" &&
    record.attachments.some((attachment) => attachment.state !== "done");
}

/**
 * Whether that was the ADD of the whole pod; otherwise an interface was being
 * plugged in or out while the pod ran. A DEL of the pod that was interrupted
 * looks like the latter, and is left to the runtime: it got no answer, and
 * sends it again.
 */
function isPodInterrupted({ attachments }: AttachmentRecord): boolean {
  return !attachments.some((attachment) => attachment.state === "done") ||
    attachments.some(({ source, state }) =>
      source !== "hotplug" && (state === "todo" || state === "begun")
    );
}

/** A DEL of the container of a record, as the runtime would send it. */
function asDelete(
  record: AttachmentRecord,
  options: { binDir: string; signal: AbortSignal; log: Log },
): Call {
  const ifname =
    record.attachments.find((attachment) => attachment.isDefault)?.ifname ??
      "eth0";
  const cniArgs = record.attachments[0]?.cniArgs ?? [];
  const { containerId, pod } = record;
  const id = `restart-${containerId.slice(0, 8)}`;
  return {
    id,
    log: options.log.with({
      request: id,
      ...(pod === undefined ? {} : { pod: `${pod.namespace}/${pod.name}` }),
      container: containerId,
    }),
    args: {
      command: "DEL",
      containerId: record.containerId,
      netns: laterNetns(record.netns),
      ifname,
      args: cniArgs.map(([key, value]) => `${key}=${value}`).join(";"),
      path: record.pluginPath ?? options.binDir,
      stdin: "{}",
    },
    trace: {},
    tally: { pluginMs: 0, waitMs: 0 },
    signal: options.signal,
  };
}

async function undoInterrupted(
  parts: OperationParts,
  containerId: string,
  call: Call,
): Promise<boolean> {
  const conf = parts.nodeConf();
  const request = {
    lane: "delete" as const,
    containerId,
    signal: call.signal,
    timeoutMs: conf.requestTimeoutMs,
  };
  return await parts.limits.run(request, async (signal) => {
    using handle = await parts.records.open(containerId);
    // A request may have come first and finished what was interrupted.
    if (handle === undefined || !isInterrupted(handle.record)) return false;
    const container = {
      containerId,
      netns: laterNetns(handle.record.netns),
      cniArgs: [],
    };
    const task = createTask(parts, { call, conf, signal });
    const isWhole = isPodInterrupted(handle.record);
    const failures = isWhole
      ? await undo(parts, task, { handle, container })
      : await undoHotplugged(handle, toolsOf(parts, task), container);
    for (const { attachment, error } of failures) {
      const { name, ifname } = attachment;
      call.log.error(error.message, { network: name, interface: ifname });
    }
    // What a pod that goes on has too much stays in its record, for its own DEL.
    if (failures.length > 0 && isWhole) {
      await parts.spool.leave(toRequest(call));
    }
    return failures.length === 0;
  });
}

/** Undoes the interrupted attachments of a pod that goes on, and takes them out of its record. */
async function undoHotplugged(
  handle: RecordHandle,
  tools: AttachmentTools,
  container: ContainerArgs,
): Promise<DetachFailure[]> {
  const failures: DetachFailure[] = [];
  const signal = AbortSignal.timeout(UNDO_MS);
  for (let at = handle.record.attachments.length - 1; at >= 0; at--) {
    if (handle.record.attachments[at]?.state === "done") continue;
    const range = { container, from: at, to: at + 1, signal };
    const failed = await detachAll(handle, tools, range);
    if (failed.length === 0) await handle.drop(at);
    failures.push(...failed);
  }
  return failures;
}

/** The records as they are by now, one for each pod: of a pod whose sandbox was made anew, the newest. */
async function readComplete(
  parts: OperationParts,
): Promise<Map<string, AttachmentRecord>> {
  const complete = new Map<string, AttachmentRecord>();
  for await (const listed of parts.records.list()) {
    if ("error" in listed || isInterrupted(listed.record)) continue;
    const uid = listed.record.pod?.uid ?? "";
    const other = complete.get(uid);
    if (other === undefined || timeOf(other) < timeOf(listed.record)) {
      complete.set(uid, listed.record);
    }
  }
  return complete;
}

/** In ISO 8601, which sorts by time. */
function timeOf({ attachments }: AttachmentRecord): string {
  return attachments[0]?.recordedAt ?? "";
}

/** Whether the pod's annotation tells something else than its record: a crash came before it was written. */
async function isStatusLate(
  parts: OperationParts,
  pod: Pod,
  record: AttachmentRecord,
): Promise<boolean> {
  const told = pod.annotations[NETWORK_STATUS_ANNOTATION];
  if (told === undefined) return true;
  // Records of the Go daemon hold no results: what it told is more than we know.
  const isWhole = record.attachments.every(({ result }) =>
    result !== undefined
  );
  return isWhole && told !== await parts.publisher.statusOf(record);
}

/** Whether the pod runs, and asked for networks, and nothing of ours is attached to it. */
function isBare(pod: Pod, attached: ReadonlySet<string>): boolean {
  const asked = pod.annotations[NETWORKS_ANNOTATION]?.trim() ?? "";
  return asked !== "" && pod.hostNetwork !== true && pod.phase === "Running" &&
    !attached.has(pod.uid);
}

function reportBare(link: ClusterLink, pod: Pod): void {
  link.cluster.postEvent({
    pod: { namespace: pod.namespace, name: pod.name, uid: pod.uid },
    type: "Warning",
    reason: "NetworksMissing",
    message:
      "The pod runs without the networks that it asks for: it was started while Multus was not in place; delete it to have it started again",
  });
}

/** Compares pods and records, once the caches are complete. */
async function publishAgain(
  parts: OperationParts,
  signal: AbortSignal,
): Promise<Pick<Reconciled, "republished" | "bare">> {
  const link = await parts.linkOf(parts.nodeConf());
  if (link === undefined) return { republished: 0, bare: 0 };
  await link.cluster.whenSynced(
    AbortSignal.any([signal, AbortSignal.timeout(SYNC_WAIT_MS)]),
  );
  let republished = 0;
  const records = await readComplete(parts);
  for (const pod of link.cluster.listLocalPods()) {
    const record = records.get(pod.uid);
    if (record === undefined) continue;
    if (!await isStatusLate(parts, pod, record)) continue;
    parts.publisher.changed({ link, record });
    republished++;
  }
  const attached = new Set(
    [...parts.records.summaries().values()].map((summary) =>
      summary.pod?.uid ?? ""
    ),
  );
  const bare = link.cluster.listLocalPods().filter((pod) =>
    isBare(pod, attached)
  );
  for (const pod of bare) reportBare(link, pod);
  return { republished, bare: bare.length };
}

/**
 * Puts right what a crash left; resolves when all of it is done or kept for later.
 *
 * @throws the signal's reason when the daemon ends before.
 */
export async function reconcile(
  parts: OperationParts,
  signal: AbortSignal,
): Promise<Reconciled> {
  let undone = 0;
  let damaged = 0;
  for await (const listed of parts.records.list()) {
    signal.throwIfAborted();
    if ("error" in listed) {
      // Its container's DEL falls back on libcni's cache; until then GC refuses to guess.
      parts.log.error(listed.error.message, { container: listed.containerId });
      damaged++;
    } else if (
      isInterrupted(listed.record) &&
      await undoInterrupted(
        parts,
        listed.containerId,
        asDelete(listed.record, {
          binDir: parts.nodeConf().binDir,
          signal,
          log: parts.log,
        }),
      )
    ) undone++;
  }
  return { undone, damaged, ...await publishAgain(parts, signal) };
}
