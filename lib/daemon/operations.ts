/**
 * The checklist of each CNI command, from the request to its answer:
 * configuration → pod → delegates → record → add each → default routes →
 * result; status and events leave by a side door. What each step does is in
 * the modules it calls; the order, and what is undone when a step fails, is here.
 *
 * DEL and CHECK go by the record alone: they ask neither the API server nor
 * the kubelet.
 *
 * CNI specification 1.1.0, section 2 "Execution Protocol".
 */
import { type CniArgs, parseCniArgs } from "../cni/args.ts";
import { CniError, ErrorCode, quote } from "../cni/error.ts";
import { parseConf } from "../cni/conf.ts";
import { delNetworkList, type Runtime } from "../cni/list.ts";
import type { Result } from "../cni/result.ts";
import type { DeviceAllocator } from "../devices/allocation.ts";
import type { DeviceInfoFiles } from "../devices/device_info.ts";
import type { DefaultRoutes } from "../host/default_routes.ts";

import type { Pod } from "../kube/objects.ts";
import type { Log } from "../log.ts";
import type { Delegate, PodIdentity } from "../selection/delegate.ts";
import { selectDelegates } from "../selection/select_delegates.ts";
import {
  assertInstalled,
  attachAll,
  type AttachmentTools,
  checkAll,
  type ContainerArgs,
  detachAll,
  type DetachFailure,
  deviceInfoKey,
  toRecorded,
} from "./attachments.ts";
import type { ClusterLink } from "./cluster_link.ts";
import type { MultusConf } from "./configuration.ts";
import type { LaneName, Limits } from "./limits.ts";
import {
  createNetworkSources,
  createPolicy,
  createSelectionSources,
} from "./networks.ts";
import { type PodArgs, readPodArgs } from "./pod_args.ts";
import type { Publisher } from "./publisher.ts";
import {
  DamagedRecordError,
  type RecordHandle,
  type Records,
} from "./records.ts";
import { type Call, toRequest } from "./server.ts";
import type { Spool } from "./spool.ts";

/** What the operations work with. */
export interface OperationParts {
  /** The configuration of a request: the shim's, with the daemon's over it. */
  readonly confOf: (stdin: string) => MultusConf;
  /** The daemon's own configuration, for requests that bring none. */
  readonly nodeConf: () => MultusConf;
  /** The link to the cluster that a configuration leads to; absent without credentials. */
  readonly linkOf: (conf: MultusConf) => Promise<ClusterLink | undefined>;
  /** What plugins are run with for a request. */
  readonly runtimeOf: (conf: MultusConf, call: Call) => Runtime;
  /** What is attached on this node. */
  readonly records: Records;
  /** Names this boot of the machine. */
  readonly bootId: string;
  /** Who may work when. */
  readonly limits: Limits;
  /** Which devices a pod has. */
  readonly devices: DeviceAllocator;
  /** This node's name; empty when nobody told it. */
  readonly nodeName: string;
  /** What is known of them. */
  readonly deviceInfo: DeviceInfoFiles;
  /** Changes default routes in a pod. */
  readonly defaultRoutes: DefaultRoutes;
  /** Writes network-status and events, off the path of the request. */
  readonly publisher: Publisher;
  /** Keeps the DELs that could not be done, to do them later. */
  readonly spool: Spool;
  /** Whether the daemon is shutting down: then it takes no ADD any more. */
  readonly isEnding: () => boolean;
  /** Waits for the default network's sign of life, where one is configured. */
  readonly waitForDefaultNetwork: (
    conf: MultusConf,
    signal: AbortSignal,
  ) => Promise<void>;
  /** Where it is said what was done. */
  readonly log: Log;
}

/** A call whose configuration is read, with the deadline of its work. */
export interface Task {
  /** The call. */
  readonly call: Call;
  /** The configuration that holds for it. */
  readonly conf: MultusConf;
  /** Aborted when its time is up or nobody waits any more. */
  readonly signal: AbortSignal;
}

/**
 * Undoing gets a deadline of its own: the request's may be over, and what was
 * begun must not stay. It is what `ABORT_GRACE_MS` in `limits.ts` leaves room for.
 */
export const UNDO_MS = 30_000;

/** The tools of a task's attachments. */
export function toolsOf(
  parts: OperationParts,
  { call, conf }: Task,
): AttachmentTools {
  const { bootId, defaultRoutes, deviceInfo, log } = parts;
  return {
    runtime: parts.runtimeOf(conf, call),
    defaultRoutes,
    deviceInfo,
    onDeviceInfoProblem: ({ name, ifname }, error) =>
      log.error(
        `Cannot hand device information on: ${
          error instanceof Error ? error.message : String(error)
        }`,
        {
          container: call.args.containerId,
          network: name,
          interface: ifname,
        },
      ),
    bootId,
  };
}

/** The container of a task. */
export function containerOf({ call }: Task, cniArgs?: CniArgs): ContainerArgs {
  const { containerId, netns, args } = call.args;
  return { containerId, netns, cniArgs: cniArgs ?? parseCniArgs(args) };
}

/** What makes two requests the same one: everything that the runtime said. */
export function keyOf({ args }: Call): string {
  return JSON.stringify(args);
}

/**
 * Does `work` in its lane, within the configuration's time for one request.
 *
 * @throws what the work throws; {@link CniError} 11 when its time is up before.
 */
export function inLane<T>(
  parts: OperationParts,
  call: Call,
  options: {
    lane: LaneName;
    supersedes?: boolean;
    /** Without it, the configuration that the call brings. */
    conf?: MultusConf;
    work: (task: Task) => Promise<T>;
  },
): Promise<T> {
  const conf = options.conf ?? parts.confOf(call.args.stdin);
  const { lane, supersedes = false, work } = options;
  const request = {
    lane,
    containerId: call.args.containerId,
    key: keyOf(call),
    supersedes,
    signal: call.signal,
    timeoutMs: conf.requestTimeoutMs,
  };
  return parts.limits.run(request, (signal) => work({ call, conf, signal }));
}

/**
 * ADD: attaches the pod to its networks; the default network's result.
 *
 * @throws {CniError} cause first, with network and interface named; what was begun is undone by then, or kept to be undone.
 */
export function add(parts: OperationParts, call: Call): Promise<Result> {
  return inLane(parts, call, {
    lane: "add",
    work: (task) => addPod(parts, task),
  });
}

async function addPod(parts: OperationParts, task: Task): Promise<Result> {
  const { call, conf, signal } = task;
  if (parts.isEnding()) {
    throw new CniError(
      ErrorCode.tryAgainLater,
      "The daemon is shutting down and takes no ADD: the next one will",
    );
  }
  const podArgs = readPodArgs(call.args);
  const link = await parts.linkOf(conf);
  const pod = await findPod(link, podArgs.pod, signal);
  await parts.waitForDefaultNetwork(conf, signal);
  const { delegates, warnings } = await selectFor(parts, task, { pod, link });
  await assertInstalled(parts.runtimeOf(conf, call), delegates);
  await undoEarlier(parts, task);
  const identity = { ...podArgs.pod, uid: podArgs.pod.uid || pod.uid };
  using handle = await parts.records.begin({
    containerId: call.args.containerId,
    netns: call.args.netns,
    pod: { namespace: pod.namespace, name: pod.name, uid: pod.uid },
    attachments: delegates.map((delegate) =>
      toRecorded(delegate, identity, podArgs.cniArgs)
    ),
  });
  const results = await attachOrUndo(parts, task, {
    handle,
    delegates,
    podArgs,
    first: 0,
  });
  parts.publisher.added({
    link,
    pod,
    record: handle.record,
    warnings,
    added: results.length,
  });
  const [first] = results;
  if (first !== undefined) return first;
  throw new CniError(
    ErrorCode.internal,
    "No network was selected for the pod, not even a default network",
  );
}

/** The pod as the cluster knows it; without a cluster, as the runtime named it. */
async function findPod(
  link: ClusterLink | undefined,
  identity: PodIdentity,
  signal: AbortSignal,
): Promise<Pod> {
  const { namespace, name, uid } = identity;
  if (link === undefined) return { namespace, name, uid, annotations: {} };
  return await link.cluster.getPod(
    namespace,
    name,
    uid === "" ? { signal } : { uid, signal },
  );
}

async function selectFor(
  parts: OperationParts,
  { call, conf, signal }: Task,
  found: { pod: Pod; link: ClusterLink | undefined },
): Promise<Awaited<ReturnType<typeof selectDelegates>>> {
  const { pod, link } = found;
  const sources = createNetworkSources(conf, { link, signal });
  const request = {
    pod: { namespace: pod.namespace, annotations: pod.annotations },
    ifname: call.args.ifname,
    ...(conf.runtimeConfig === undefined
      ? {}
      : { runtimeConfig: conf.runtimeConfig }),
  };
  const selected = await selectDelegates(
    request,
    createPolicy(conf, sources),
    createSelectionSources(sources, pod, {
      link,
      devices: parts.devices,
      nodeName: parts.nodeName,
      signal,
    }),
  );
  const delegates = selected.delegates.map((delegate) =>
    withDeviceInfo(parts, call, delegate)
  );
  return { ...selected, delegates };
}

/** A delegate with a device is told where the device information file will be. */
function withDeviceInfo(
  { deviceInfo }: OperationParts,
  { args }: Call,
  delegate: Delegate,
): Delegate {
  if (delegate.deviceId === undefined || delegate.resourceName === undefined) {
    return delegate;
  }
  const { displayName: name, ifname } = delegate;
  const key = deviceInfoKey(args.containerId, { name, ifname });
  return { ...delegate, deviceInfoFile: deviceInfo.pathOf(key) };
}

/** A runtime that sends ADD again without DEL has lost the first one: what that began goes first. */
async function undoEarlier(parts: OperationParts, task: Task): Promise<void> {
  using earlier = await openRecord(parts, task);
  if (earlier === undefined) return;
  const failures = await undo(parts, task, {
    handle: earlier,
    container: containerOf(task),
  });
  if (failures.length > 0) throw failures[0]?.error;
}

/** Attaches, and when that fails undoes what was begun before the error goes to the runtime. */
export async function attachOrUndo(
  parts: OperationParts,
  task: Task,
  options: {
    handle: RecordHandle;
    delegates: readonly Delegate[];
    podArgs: PodArgs;
    first: number;
  },
): Promise<Result[]> {
  const { handle, delegates, podArgs, first } = options;
  const container = containerOf(task, podArgs.cniArgs);
  try {
    return await attachAll(handle, toolsOf(parts, task), {
      delegates,
      container,
      first,
      signal: task.signal,
    });
  } catch (error) {
    const failures = await undo(parts, task, { handle, container, first });
    if (failures.length > 0) {
      await keep(parts, { ...task, call: asDelete(task.call) }, failures);
    }
    throw error;
  }
}

/** The DEL that undoes the same attachment as this call. */
function asDelete(call: Call): Call {
  return { ...call, args: { ...call.args, command: "DEL" } };
}

/** Undoes a record from `first` on, with a deadline of its own; a record with nothing left in it goes. */
export async function undo(
  parts: OperationParts,
  task: Task,
  options: { handle: RecordHandle; container: ContainerArgs; first?: number },
): Promise<DetachFailure[]> {
  const { handle, container, first = 0 } = options;
  const failures = await detachAll(handle, toolsOf(parts, task), {
    container,
    from: first,
    signal: AbortSignal.timeout(UNDO_MS),
  });
  if (failures.length > 0) return failures;
  if (first === 0) await parts.records.remove(container.containerId);
  else {
    for (let at = handle.record.attachments.length - 1; at >= first; at--) {
      await handle.drop(at);
    }
  }
  return failures;
}

async function keep(
  parts: OperationParts,
  { call }: Task,
  failures: readonly DetachFailure[],
): Promise<void> {
  for (const { error } of failures) {
    parts.log.error(error.message, { container: call.args.containerId });
  }
  await parts.spool.leave(toRequest(call));
}

/**
 * The container's record. A damaged one is put aside and said so: what it
 * held is then only in libcni's result cache.
 */
async function openRecord(
  { records, log }: OperationParts,
  { call }: Task,
): Promise<RecordHandle | undefined> {
  const { containerId, ifname } = call.args;
  try {
    return await records.open(containerId, { ifname });
  } catch (error) {
    if (!(error instanceof DamagedRecordError)) throw error;
    const path = await records.quarantine(containerId);
    log.error(error.message, { container: containerId, quarantined: path });
    return undefined;
  }
}

/** How a DEL is meant. */
export interface DeleteOptions {
  /** It was kept to be done later: when it fails, it is the caller's to keep again. */
  readonly isLeftOver?: boolean;
}

/**
 * DEL: undoes all that the record of the container holds. No record: nothing to undo.
 *
 * @throws {CniError} of the first attachment that could not be undone, with `retryDeleteOnError`; without, it is kept and done later.
 */
export function del(
  parts: OperationParts,
  call: Call,
  options: DeleteOptions = {},
): Promise<void> {
  const { isLeftOver = false } = options;
  return inLane(parts, call, {
    lane: "delete",
    // What the runtime wants now comes before what it once wanted.
    supersedes: !isLeftOver,
    work: (task) => deletePod(parts, task, isLeftOver),
  });
}

async function deletePod(
  parts: OperationParts,
  task: Task,
  isLeftOver: boolean,
): Promise<void> {
  const failures = await undoContainer(parts, task);
  if (failures.length === 0) return;
  if (isLeftOver || task.conf.retryDeleteOnError) throw failures[0]?.error;
  await keep(parts, task, failures);
}

async function undoContainer(
  parts: OperationParts,
  task: Task,
): Promise<readonly DetachFailure[]> {
  using handle = await openRecord(parts, task);
  if (handle === undefined) {
    await undoCached(parts, task);
    return [];
  }
  const container = containerOf(task);
  const netns = container.netns === ""
    ? handle.record.netns ?? ""
    : container.netns;
  return await undo(parts, task, {
    handle,
    container: { ...container, netns },
  });
}

/**
 * CHECK: asks the plugins of each attachment whether it is as they left it.
 *
 * @throws {CniError} 3 when the container is not known; of the first attachment that is not as it should be.
 */
export function check(parts: OperationParts, call: Call): Promise<void> {
  return inLane(parts, call, {
    lane: "check",
    work: async (task) => {
      using handle = await openRecord(parts, task);
      if (handle === undefined) {
        throw new CniError(
          ErrorCode.unknownContainer,
          `Nothing is attached to container ${quote(call.args.containerId)}`,
        );
      }
      await checkAll(handle.record, toolsOf(parts, task), {
        container: containerOf(task),
        signal: task.signal,
      });
    },
  });
}

/**
 * What is attached according to libcni's cache alone, for a container whose
 * record is lost or was never ours: each is undone with the configuration it
 * was added with.
 */
async function undoCached(parts: OperationParts, task: Task): Promise<void> {
  const { runtime } = toolsOf(parts, task);
  const { containerId } = task.call.args;
  const { attachments } = await runtime.cache.list({ containerId });
  for (const cached of attachments.toReversed()) {
    if (cached.config === "") continue;
    await delNetworkList(runtime, parseConf(cached.config), {
      attachment: cached,
      signal: task.signal,
    });
  }
}
