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
  statusNetworkList,
  type ValidAttachment,
} from "../cni/list.ts";
import { assertCommandVersion, DEFAULT_VERSION } from "../cni/version.ts";
import { until } from "../kube/waiting.ts";
import { createNetworkSources, createPolicy } from "./networks.ts";
import { laterNetns } from "./later_netns.ts";
import {
  inLane,
  type OperationParts,
  type Task,
  toolsOf,
  undo,
} from "./operations.ts";
import type { AttachmentRecord, RecordedAttachment } from "./record_format.ts";
import type { Call, Check } from "./server.ts";

/** Below the second that runtimes are promised, with room for the shim, which gives up after 0.8, and for ending a plugin. */
const STATUS_MS = 500;

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

/** A default network that cannot even be found is no reason to wait for a better answer: ADD would fail. */
function asNotAvailable(error: unknown): never {
  const isFinal = error instanceof CniError &&
    error.code !== ErrorCode.tryAgainLater;
  throw isFinal ? notAvailable(error.message) : error;
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
  try {
    const link = await until(parts.linkOf(conf), signal);
    const policy = createPolicy(
      conf,
      createNetworkSources(conf, { link, signal }),
    );
    const { list } = await policy.defaultNetwork().catch(asNotAvailable);
    await statusNetworkList(toolsOf(parts, task).runtime, list, { signal });
  } catch (error) {
    if (error instanceof CniError && error.code !== ErrorCode.tryAgainLater) {
      throw error;
    }
    task.call.log.verbose("The default network did not answer STATUS in time", {
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
  const arrivedAt = Date.now();
  return inLane(parts, call, {
    lane: "gc",
    work: (task) => collect(parts, task, arrivedAt),
  });
}

async function collect(
  parts: OperationParts,
  task: Task,
  arrivedAt: number,
): Promise<void> {
  const { args } = task.call;
  assertCommandVersion("GC", versionOf(args.stdin));
  const valid = new Set(
    readValid(args.stdin).map((attachment) => attachment.containerID),
  );
  const before = await readAllRecords(parts);
  const failures: CniError[] = [];
  for (const { containerId, attachments } of before) {
    const isStale = !valid.has(containerId) && isOlder(attachments, arrivedAt);
    if (!isStale || parts.limits.isBusy(containerId)) continue;
    failures.push(...await undoStale(parts, task, { containerId, arrivedAt }));
  }
  failures.push(...await tellPlugins(parts, task, before));
  if (failures.length > 0) throw failures[0];
}

/** What was attached after the runtime wrote its list is not in it, and valid. */
function isOlder(
  attachments: readonly RecordedAttachment[],
  arrivedAt: number,
): boolean {
  return attachments.every(({ recordedAt }) =>
    recordedAt === undefined || Date.parse(recordedAt) < arrivedAt
  );
}

/** Undoes a container in its turn, as it stands then. */
async function undoStale(
  parts: OperationParts,
  task: Task,
  { containerId, arrivedAt }: { containerId: string; arrivedAt: number },
): Promise<CniError[]> {
  const request = {
    lane: "delete" as const,
    containerId,
    signal: task.signal,
    timeoutMs: task.conf.requestTimeoutMs,
  };
  return await parts.limits.run(request, async (signal) => {
    using handle = await parts.records.open(containerId);
    if (
      handle === undefined || !isOlder(handle.record.attachments, arrivedAt)
    ) {
      return [];
    }
    const container = {
      containerId,
      netns: laterNetns(handle.record.netns),
      cniArgs: [],
    };
    const inTurn = { ...task, signal };
    const failures = await undo(parts, inTurn, { handle, container });
    return failures.map((failure) => failure.error);
  });
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

interface NetworkInUse {
  readonly list: NetConfList;
  readonly valid: ValidAttachment[];
}

/** The networks of all records; valid is what the second ones hold. */
function groupByNetwork(
  known: readonly AttachmentRecord[],
  now: readonly AttachmentRecord[],
): Map<string, NetworkInUse> {
  const networks = new Map<string, NetworkInUse>();
  for (const { attachments } of [...known, ...now]) {
    for (const { config } of attachments) {
      const list = parseConf(config);
      networks.set(list.name, { list, valid: [] });
    }
  }
  for (const { containerId: containerID, attachments } of now) {
    for (const { config, ifname, state } of attachments) {
      // What is still to do may be done while the plugins go by this list.
      if (state === "undone") continue;
      networks.get(parseConf(config).name)?.valid.push({ containerID, ifname });
    }
  }
  return networks;
}

/**
 * How long nothing new is attached because of GC: as long as the plugins need
 * to look through what they handed out.
 */
const GC_MS = 20_000;

/**
 * Tells the plugins of each network what is attached now, `before` naming
 * networks that nothing may be attached to any more.
 */
async function tellPlugins(
  parts: OperationParts,
  task: Task,
  before: readonly AttachmentRecord[],
): Promise<CniError[]> {
  using _closed = await parts.limits.starts.close(task.signal);
  const now = await readAllRecords(parts);
  const signal = within(task.signal, GC_MS);
  const { runtime } = toolsOf(parts, task);
  const failures: CniError[] = [];
  for (const { list, valid } of groupByNetwork(before, now).values()) {
    try {
      await gcNetworkList(runtime, list, { validAttachments: valid, signal });
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      failures.push(error);
    }
  }
  return failures;
}
