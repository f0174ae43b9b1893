/**
 * The two commands that are about the node and no container: STATUS, which
 * answers within a second whatever happens, and GC, which goes by the records
 * of all networks and does nothing at all when one of them cannot be read.
 *
 * CNI specification 1.1.0, section 2 "STATUS" and "GC".
 */
import { type NetConfList, parseConf } from "../cni/conf.ts";
import { CniError, ErrorCode, quote } from "../cni/error.ts";
import { getMember, type JsonText } from "../cni/json_text.ts";
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
 * tells the plugins of each network which attachments are. What cannot be done
 * for one container or one network keeps no other from being seen to, and is
 * told at the end.
 *
 * @throws {CniError} 7 when the request does not say what is valid, 11 when a record cannot be read; the failures together otherwise.
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
  const { args, log } = task.call;
  assertCommandVersion("GC", versionOf(args.stdin));
  const valid = new Set(
    readValid(args.stdin).map((attachment) => attachment.containerID),
  );
  const before = await readAllRecords(parts);
  const stale = before.filter(({ containerId, attachments }) =>
    !valid.has(containerId) && isOlder(attachments, arrivedAt)
  );
  const failures = await undoAllStale(parts, task, { stale, arrivedAt });
  try {
    failures.push(...await tellPlugins(parts, task, { before, arrivedAt }));
  } catch (error) {
    if (failures.length === 0) throw error;
    failures.push(asFailure("Cannot tell the plugins what is valid", error));
  }
  // Who asked hears of the first; the log has the others.
  for (const { message } of failures.slice(TOLD_FAILURES_MAX)) {
    log.error(message);
  }
  throwTold(failures);
}

/** What is attached to many pods fails for the same few reasons. */
const TOLD_FAILURES_MAX = 3;

function throwTold(failures: readonly CniError[]): void {
  const [first] = failures;
  if (first === undefined) return;
  if (failures.length === 1) throw first;
  const told = failures.slice(0, TOLD_FAILURES_MAX);
  const rest = failures.length - told.length;
  const ends = rest === 0 ? [] : [`${rest} more are in the daemon's log`];
  throw new CniError(
    first.code,
    [...told.map(({ message }) => message), ...ends].join("; "),
    { cause: failures },
  );
}

/** `error` as one of several failures, what could not be done in front. */
function asFailure(subject: string, error: unknown): CniError {
  if (error instanceof CniError) {
    const { code, message, details } = error;
    const options = { details, cause: error };
    return new CniError(code, `${subject}: ${message}`, options);
  }
  const reason = error instanceof Error ? error.message : String(error);
  const code = error instanceof DOMException
    ? ErrorCode.tryAgainLater
    : ErrorCode.ioFailure;
  return new CniError(code, `${subject}: ${reason}`, { cause: error });
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

/** A DEL that hangs takes half a minute: with one at a time, a few would take all. The runtime's own find room beside so few. */
const STALE_AT_ONCE = 4;

/**
 * Undoes containers, for at most half of the request's time, because the
 * plugins' own GC comes after it. It begins somewhere else each time, so that
 * those who take the time never keep the same others waiting for ever.
 */
async function undoAllStale(
  parts: OperationParts,
  task: Task,
  { stale, arrivedAt }: {
    stale: readonly AttachmentRecord[];
    arrivedAt: number;
  },
): Promise<CniError[]> {
  const signal = within(task.signal, task.conf.requestTimeoutMs / 2);
  const first = Math.floor(Math.random() * stale.length);
  const queue = [...stale.slice(first), ...stale.slice(0, first)].values();
  const failures: CniError[] = [];
  const undoNext = async (): Promise<void> => {
    for (const record of queue) {
      const { containerId } = record;
      if (parts.limits.isBusy(containerId)) continue;
      const request = { containerId, arrivedAt };
      const errors = signal.aborted
        ? [OUT_OF_TIME]
        : await undoStale(parts, { ...task, signal }, request).catch((
          error,
        ) => [asFailure("Cannot undo what is attached", error)]);
      failures.push(...errors.map((error) => inPlace(error, record)));
    }
  };
  await Promise.all(Array.from({ length: STALE_AT_ONCE }, undoNext));
  task.signal.throwIfAborted();
  return failures;
}

const OUT_OF_TIME = new CniError(
  ErrorCode.tryAgainLater,
  "No time was left to undo what is attached",
);

/** `error` with the pod that it is about: a GC names none. */
function inPlace(
  error: CniError,
  { containerId, pod }: AttachmentRecord,
): CniError {
  const place = pod === undefined
    ? `container ${containerId}`
    : `pod ${pod.namespace}/${pod.name}`;
  const { code, message, details } = error;
  return new CniError(code, `${message} (${place})`, { details, cause: error });
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

/** All records, or none: what cannot be read might be in use. */
async function readAllRecords(
  parts: OperationParts,
): Promise<AttachmentRecord[]> {
  const records: AttachmentRecord[] = [];
  try {
    for await (const listed of parts.records.list()) {
      if (!("record" in listed)) throw listed.error;
      records.push(listed.record);
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CniError(
      ErrorCode.tryAgainLater,
      `GC could free what is in use: ${reason}`,
      { cause },
    );
  }
  return records;
}

interface NetworkInUse {
  readonly list: NetConfList;
  readonly valid: ValidAttachment[];
}

interface NetworksInUse {
  readonly networks: readonly NetworkInUse[];
  /** One for each network of which there is no configuration that can be run. */
  readonly failures: readonly CniError[];
}

/** The networks of all records; valid is what the second ones hold. */
function groupByNetwork(
  known: readonly AttachmentRecord[],
  now: readonly AttachmentRecord[],
): NetworksInUse {
  const networks = new Map<string, NetworkInUse>();
  const failures = new Map<string, CniError>();
  for (const { attachments } of [...known, ...now]) {
    for (const { config } of attachments) {
      try {
        networks.set(networkOf(config), { list: parseConf(config), valid: [] });
      } catch (error) {
        failures.set(networkOf(config), gcFailure(networkOf(config), error));
      }
    }
  }
  for (const name of networks.keys()) failures.delete(name);
  for (const { containerId: containerID, attachments } of now) {
    for (const { config, ifname, state } of attachments) {
      // What is still to do may be done while the plugins go by this list.
      if (state === "undone") continue;
      networks.get(networkOf(config))?.valid.push({ containerID, ifname });
    }
  }
  return { networks: [...networks.values()], failures: [...failures.values()] };
}

/** The name of a configuration, whatever else is wrong with it. */
function networkOf(config: JsonText): string {
  return String(JSON.parse(getMember(config, "name") ?? '""'));
}

function gcFailure(network: string, error: unknown): CniError {
  return asFailure(`Cannot collect the garbage of ${quote(network)}`, error);
}

/**
 * How long nothing new is attached because of GC: as long as the plugins need
 * to look through what they handed out.
 */
const GC_MS = 20_000;

/**
 * Tells the plugins of each network what is attached now, `before` naming
 * networks that nothing may be attached to any more. Each gets half of what is
 * left of the time, so that one that hangs leaves as much to those after it; the last has all of it.
 */
async function tellPlugins(
  parts: OperationParts,
  task: Task,
  { before, arrivedAt }: {
    before: readonly AttachmentRecord[];
    arrivedAt: number;
  },
): Promise<CniError[]> {
  using _closed = await parts.limits.starts.close(task.signal);
  const now = await readAllRecords(parts);
  const { networks, failures: unusable } = groupByNetwork(before, now);
  const failures = [...unusable];
  const { runtime } = toolsOf(parts, task);
  const end = Math.min(
    Date.now() + GC_MS,
    arrivedAt + task.conf.requestTimeoutMs,
  );
  for (const [index, { list, valid }] of networks.entries()) {
    const leftMs = Math.max(0, end - Date.now());
    const isLast = index === networks.length - 1;
    const signal = within(task.signal, isLast ? leftMs : leftMs / 2);
    try {
      await gcNetworkList(runtime, list, { validAttachments: valid, signal });
    } catch (error) {
      failures.push(gcFailure(list.name, error));
    }
  }
  return failures;
}
