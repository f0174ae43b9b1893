/**
 * The two commands that are about the node and no container: STATUS, which
 * answers within a second whatever happens, and GC, which goes by the records
 * of all networks and does nothing at all when one of them cannot be read.
 *
 * CNI specification 1.1.0, section 2 "STATUS" and "GC".
 */
import { type NetConfList, parseConf } from "../cni/conf.ts";
import { CniError, ErrorCode } from "../cni/error.ts";
import { getMember } from "../cni/json_text.ts";
import {
  gcNetworkList,
  type Runtime,
  statusNetworkList,
  type ValidAttachment,
} from "../cni/list.ts";
import { assertCommandVersion, DEFAULT_VERSION } from "../cni/version.ts";
import { isBegun } from "./attachments.ts";
import { createNetworkSources, createPolicy } from "./networks.ts";
import {
  inLane,
  type OperationParts,
  type Task,
  toolsOf,
  undo,
} from "./operations.ts";
import type { AttachmentRecord } from "./record_format.ts";
import type { Call, Check } from "./server.ts";

/** Below the second that runtimes are promised, with room for the shim's own start. */
const STATUS_MS = 800;

/**
 * STATUS: whether an ADD would be taken now.
 *
 * @throws {CniError} 50 with the reason, when not; what the default network's plugins say.
 */
export function status(
  parts: OperationParts,
  call: Call,
  readiness: () => readonly Check[],
): Promise<void> {
  return inLane(parts, call, {
    lane: "status",
    work: async (task) => {
      assertCommandVersion("STATUS", versionOf(call.args.stdin));
      const failing = readiness().filter((check) => !check.ok);
      if (failing.length > 0) {
        throw notAvailable(failing.map((check) => check.reason).join("; "));
      }
      await statusOfDefaultNetwork(parts, {
        ...task,
        signal: within(task.signal, STATUS_MS),
      });
    },
  });
}

function within(signal: AbortSignal, ms: number): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(ms)]);
}

function notAvailable(reason: string): CniError {
  return new CniError(ErrorCode.pluginNotAvailable, `Not ready: ${reason}`);
}

function versionOf(stdin: string): string {
  const version: unknown = JSON.parse(
    getMember(stdin, "cniVersion") ?? `"${DEFAULT_VERSION}"`,
  );
  return String(version);
}

/** Plugins that take longer than the time there is are not unready: they are asked again next time. */
async function statusOfDefaultNetwork(
  parts: OperationParts,
  task: Task,
): Promise<void> {
  const { conf, signal } = task;
  const link = await parts.linkOf(conf);
  try {
    const policy = createPolicy(
      conf,
      createNetworkSources(conf, { link, signal }),
    );
    const { list } = await policy.defaultNetwork();
    await statusNetworkList(toolsOf(parts, task).runtime, list, { signal });
  } catch (error) {
    if (error instanceof CniError && error.code !== ErrorCode.tryAgainLater) {
      throw error;
    }
    parts.log.verbose("The default network did not answer STATUS in time", {
      reason: String(error),
    });
  }
}

/**
 * GC: undoes what is attached to containers that are not valid any more, then
 * tells the plugins of each network which attachments are.
 *
 * @throws {CniError} 7 when the request does not say what is valid, 11 when a record cannot be read; the first failure otherwise.
 */
export function collectGarbage(
  parts: OperationParts,
  call: Call,
): Promise<void> {
  return inLane(parts, call, {
    lane: "gc",
    work: (task) => collect(parts, task),
  });
}

async function collect(parts: OperationParts, task: Task): Promise<void> {
  const { args } = task.call;
  assertCommandVersion("GC", versionOf(args.stdin));
  const valid = new Set(
    readValid(args.stdin).map((attachment) => attachment.containerID),
  );
  const records = await readAllRecords(parts);
  const failures: CniError[] = [];
  const kept: AttachmentRecord[] = [];
  for (const record of records) {
    const { containerId } = record;
    if (valid.has(containerId) || parts.limits.isBusy(containerId)) {
      kept.push(record);
    } else failures.push(...await undoRecord(parts, task, containerId));
  }
  failures.push(
    ...await tellPlugins(toolsOf(parts, task).runtime, kept, task.signal),
  );
  if (failures.length > 0) throw failures[0];
}

function readValid(stdin: string): ValidAttachment[] {
  const text = getMember(stdin, "cni.dev/valid-attachments") ??
    getMember(stdin, "cni.dev/attachments");
  const value: unknown = text === undefined ? undefined : JSON.parse(text);
  const isValid = Array.isArray(value) &&
    value.every((one) =>
      typeof one?.containerID === "string" && typeof one?.ifname === "string"
    );
  if (isValid) return value;
  throw new CniError(
    ErrorCode.invalidNetworkConfig,
    "GC needs the list of valid attachments: cni.dev/valid-attachments",
  );
}

async function readAllRecords(
  parts: OperationParts,
): Promise<AttachmentRecord[]> {
  const records: AttachmentRecord[] = [];
  for await (const listed of parts.records.list()) {
    if ("record" in listed) records.push(listed.record);
    else {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `GC could free what is in use: ${listed.error.message}`,
        { cause: listed.error },
      );
    }
  }
  return records;
}

async function undoRecord(
  parts: OperationParts,
  task: Task,
  containerId: string,
): Promise<CniError[]> {
  using handle = await parts.records.open(containerId);
  if (handle === undefined) return [];
  const container = {
    containerId,
    netns: handle.record.netns ?? "",
    cniArgs: [],
  };
  const failures = await undo(parts, task, { handle, container });
  return failures.map((failure) => failure.error);
}

interface NetworkInUse {
  readonly list: NetConfList;
  readonly valid: ValidAttachment[];
}

function groupByNetwork(
  records: readonly AttachmentRecord[],
): Map<string, NetworkInUse> {
  const networks = new Map<string, NetworkInUse>();
  for (const { containerId, attachments } of records) {
    for (const attachment of attachments.filter(isBegun)) {
      const list = parseConf(attachment.config);
      const network = networks.get(list.name) ?? { list, valid: [] };
      network.valid.push({
        containerID: containerId,
        ifname: attachment.ifname,
      });
      networks.set(list.name, network);
    }
  }
  return networks;
}

async function tellPlugins(
  runtime: Runtime,
  records: readonly AttachmentRecord[],
  signal: AbortSignal,
): Promise<CniError[]> {
  const failures: CniError[] = [];
  for (const { list, valid } of groupByNetwork(records).values()) {
    try {
      await gcNetworkList(runtime, list, { validAttachments: valid, signal });
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      failures.push(error);
    }
  }
  return failures;
}
