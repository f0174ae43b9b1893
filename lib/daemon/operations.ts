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
import type { Runtime } from "../cni/list.ts";
import { startTimeLimit } from "../cni/time_limit.ts";
import type { Result } from "../cni/result.ts";
import type { DeviceAllocator } from "../devices/allocation.ts";
import type { DeviceInfoFiles } from "../devices/device_info.ts";
import type { DefaultRoutes } from "../host/default_routes.ts";

import {
  ApiStatusError,
  ApiUnavailableError,
  CredentialsError,
} from "../kube/error.ts";
import type { Pod } from "../kube/objects.ts";
import type { Log } from "../log.ts";
import type { Delegate, PodIdentity } from "../selection/delegate.ts";
import {
  NetworkNotFoundError,
  selectDelegates,
} from "../selection/select_delegates.ts";
import { whileAsking } from "./asking.ts";
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
import { laterNetns } from "./later_netns.ts";
import type { LaneName, Limits } from "./limits.ts";
import { type LostOptions, undoLost } from "./lost_record.ts";
import {
  createNetworkSources,
  createPolicy,
  createSelectionSources,
} from "./networks.ts";
import { type PodArgs, readPodArgs } from "./pod_args.ts";
import type { Publisher } from "./publisher.ts";
import {
  DamagedRecordError,
  type NewRecord,
  RecordExistsError,
  type RecordHandle,
  type Records,
} from "./records.ts";
import { type Call, toRequest } from "./server.ts";
import { ShuttingDownError } from "./shutting_down.ts";
import type { Spool } from "./spool.ts";
import { inSpan } from "../wire/tracing.ts";

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

/** A call whose configuration is read, with the deadline of its work; {@linkcode createTask} makes it. */
export interface Task {
  /** The call. */
  readonly call: Call;
  /** The configuration that holds for it. */
  readonly conf: MultusConf;
  /** What its plugins are run with. */
  readonly runtime: Runtime;
  /** Aborted when its time is up or nobody waits any more. */
  readonly signal: AbortSignal;
}

/** A call with what it is worked on with. */
export function createTask(
  parts: OperationParts,
  task: Omit<Task, "runtime">,
): Task {
  return { ...task, runtime: parts.runtimeOf(task.conf, task.call) };
}

/**
 * Undoing gets a deadline of its own: the request's may be over, and what was
 * begun must not stay. It is what `ABORT_GRACE_MS` in `limits.ts` leaves room for.
 */
export const UNDO_MS = 30_000;

/** The tools of a task's attachments. */
export function toolsOf(
  parts: OperationParts,
  { call, runtime }: Task,
): AttachmentTools {
  const { bootId, defaultRoutes, deviceInfo } = parts;
  return {
    runtime,
    defaultRoutes,
    deviceInfo,
    onDeviceInfoProblem: ({ name, ifname }, error) =>
      call.log.error(
        `Cannot hand device information on: ${
          error instanceof Error ? error.message : String(error)
        }`,
        { network: name, interface: ifname },
      ),
    bootId,
  };
}

/** The container of a task. */
export function containerOf({ call }: Task, cniArgs?: CniArgs): ContainerArgs {
  const { containerId, netns, args } = call.args;
  return { containerId, netns, cniArgs: cniArgs ?? parseCniArgs(args) };
}

/** What makes two requests the same one: the route, and everything that was said. */
function keyOf({ args, attributes }: Call, isDelegate: boolean): string {
  return JSON.stringify([isDelegate, args, attributes ?? null]);
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
    /** Whether the same request sent again joins it; it does, if left out. */
    isShared?: boolean;
    /** Without it, the configuration that the call brings. */
    conf?: MultusConf;
    work: (task: Task) => Promise<T>;
  },
): Promise<T> {
  const conf = options.conf ?? parts.confOf(call.args.stdin);
  const { lane, supersedes = false, isShared = true, work } = options;
  if (lane === "add" && parts.isEnding()) {
    return Promise.reject(new ShuttingDownError());
  }
  const key = keyOf(call, options.conf !== undefined);
  const { containerId } = call.args;
  const request = {
    lane,
    // STATUS and GC are about no container, and must not wait for each other's turn.
    ...(containerId === "" ? {} : { containerId }),
    ...(isShared ? { key } : {}),
    supersedes,
    signal: call.signal,
    timeoutMs: conf.requestTimeoutMs,
  };
  const waited = startWaiting(call);
  return parts.limits.run(request, (signal) => {
    waited.end();
    return work(createTask(parts, { call, conf, signal }));
  }).finally(() => waited.end());
}

/** The time until a request has its turn; all of its time, when it joins another one or never has it. */
function startWaiting({ span, tally }: Call): { end(): void } {
  const queue = span?.child("queue");
  const start = performance.now();
  let isOver = false;
  return {
    end(): void {
      if (isOver) return;
      isOver = true;
      tally.waitMs += performance.now() - start;
      queue?.end();
    },
  };
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
  const { call, conf, runtime, signal } = task;
  const podArgs = readPodArgs(call.args);
  const link = await parts.linkOf(conf);
  const pod = await inSpan(
    call.span,
    "pod",
    () => findPod(link, podArgs.pod, signal),
  );
  await parts.waitForDefaultNetwork(conf, signal);
  const { delegates, warnings } = await inSpan(
    call.span,
    "networks",
    () => selectFor(parts, task, { pod, link }),
  );
  logDelegates(call.log, delegates);
  await assertInstalled(runtime, delegates);
  const identity = { ...podArgs.pod, uid: podArgs.pod.uid || pod.uid };
  using handle = await beginRecord(parts, task, {
    containerId: call.args.containerId,
    netns: call.args.netns,
    pluginPath: call.args.path,
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
    log: call.log,
  });
  const [first] = results;
  if (first !== undefined) return first;
  throw new CniError(
    ErrorCode.internal,
    "No network was selected for the pod, not even a default network",
  );
}

/** Configurations are for those who look for a fault only. */
function logDelegates(log: Log, delegates: readonly Delegate[]): void {
  for (const { displayName, ifname, source, list } of delegates) {
    const fields = { network: displayName, interface: ifname };
    log.debug("Network chosen", { ...fields, source, config: list.text });
  }
}

/** The pod as the cluster knows it; without a cluster, as the runtime named it. */
async function findPod(
  link: ClusterLink | undefined,
  identity: PodIdentity,
  signal: AbortSignal,
): Promise<Pod> {
  const { namespace, name, uid } = identity;
  if (link === undefined) return { namespace, name, uid, annotations: {} };
  const found = link.cluster.getPod(
    namespace,
    name,
    uid === "" ? { signal } : { uid, signal },
  );
  return await whileAsking(found, {
    subject: `pod ${namespace}/${name}`,
    signal,
    problem: () => link.cluster.api.problem,
  });
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
  ).catch((error: unknown) => {
    if (error instanceof NetworkNotFoundError) {
      parts.publisher.notFound({ link, pod, error });
    }
    throw error;
  });
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

/** Begins the record; a runtime that sends ADD again without DEL has lost the first one: what that began goes first. */
async function beginRecord(
  parts: OperationParts,
  task: Task,
  record: NewRecord,
): Promise<RecordHandle> {
  const { containerId } = record;
  if (task.runtime.cache.mayHold(containerId)) await undoEarlier(parts, task);
  const handle = await writeRecord(parts, task, record)
    .catch(async (error: unknown) => {
      if (!(error instanceof RecordExistsError)) throw error;
      await undoEarlier(parts, task);
      return await writeRecord(parts, task, record);
    });
  try {
    // A DEL that was left over is done by now; done later, it would undo what comes next.
    await parts.spool.forget(containerId);
    return handle;
  } catch (error) {
    handle[Symbol.dispose]();
    await parts.records.remove(containerId);
    throw error;
  }
}

/** GC waits until the record says what is about to be made. */
async function writeRecord(
  { limits, records }: OperationParts,
  { signal }: Task,
  record: NewRecord,
): Promise<RecordHandle> {
  using starting = await limits.starts.pass(signal);
  const handle = await records.begin(record);
  starting[Symbol.dispose]();
  return handle;
}

async function undoEarlier(parts: OperationParts, task: Task): Promise<void> {
  const [failure] = await undoContainer(parts, task);
  if (failure !== undefined) throw failure;
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
    const refusal = error instanceof CniError &&
        error.cause instanceof CniError
      ? error.cause
      : undefined;
    await undoFailed(parts, task, { handle, container, first, refusal });
    throw error;
  }
}

/** Undoes what an ADD began that has failed; what goes wrong now is not what the runtime has to hear. */
async function undoFailed(
  parts: OperationParts,
  task: Task,
  options: UndoOptions & { first: number },
): Promise<void> {
  try {
    const failures = errorsOf(await undo(parts, task, options));
    if (failures.length === 0) return;
    // The record of a pod that goes on still has what is left: its own DEL will undo that.
    if (options.first > 0) return logAll(task, failures);
    await keep(parts, { ...task, call: asDelete(task.call) }, failures);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    task.call.log.error(`Cannot undo what was begun: ${reason}`);
  }
}

function errorsOf(failures: readonly DetachFailure[]): CniError[] {
  return failures.map((failure) => failure.error);
}

/** The DEL that undoes the same attachment as this call. */
function asDelete(call: Call): Call {
  return { ...call, args: { ...call.args, command: "DEL" } };
}

/** What is undone. */
export interface UndoOptions {
  /** The record. */
  readonly handle: RecordHandle;
  /** Its container. */
  readonly container: ContainerArgs;
  /** The first attachment that is undone; 0, if left out. */
  readonly first?: number;
  /** What the ADD that is undone failed with. */
  readonly refusal?: CniError | undefined;
}

/** By hand, because what `AbortSignal.timeout` makes stays for all of its time: for every DEL half a minute. */
async function withinUndoTime<T>(
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  using _limit = startTimeLimit(UNDO_MS, () => {
    controller.abort(new DOMException("Signal timed out.", "TimeoutError"));
  });
  return await work(controller.signal);
}

/** Undoes a record from `first` on, with a deadline of its own; a record with nothing left in it goes. */
export async function undo(
  parts: OperationParts,
  task: Task,
  options: UndoOptions,
): Promise<DetachFailure[]> {
  const { handle, container, first = 0, refusal } = options;
  const failures = await withinUndoTime((signal) =>
    detachAll(handle, toolsOf(parts, task), {
      container,
      from: first,
      refusal,
      signal,
    })
  );
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
  task: Task,
  failures: readonly CniError[],
): Promise<void> {
  logAll(task, failures);
  await parts.spool.leave(toRequest(task.call));
}

function logAll({ call }: Task, failures: readonly CniError[]): void {
  for (const { message } of failures) call.log.error(message);
}

/** The container's record, the error that says that it is damaged, or `undefined` when there is none. */
async function findRecord(
  { records }: OperationParts,
  { call }: Task,
): Promise<RecordHandle | DamagedRecordError | undefined> {
  const { containerId, ifname } = call.args;
  try {
    return await records.open(containerId, { ifname });
  } catch (error) {
    if (error instanceof DamagedRecordError) return error;
    throw error;
  }
}

/** How a DEL is meant. */
export interface DeleteOptions {
  /**
   * It was kept to be done later: asked when its turn has come, because the runtime may have come
   * first. When it fails, it is the caller's to keep again.
   */
  readonly isStillWanted?: () => Promise<boolean>;
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
  const { isStillWanted } = options;
  if (isStillWanted === undefined) {
    return inLane(parts, call, {
      lane: "delete",
      // What the runtime wants now comes before what it once wanted.
      supersedes: true,
      work: (task) => deletePod(parts, task),
    });
  }
  return inLane(parts, call, {
    lane: "delete",
    isShared: false,
    work: async (task) => {
      if (!await isStillWanted()) return;
      const [failure] = await undoContainer(parts, task);
      if (failure !== undefined) throw failure;
    },
  });
}

async function deletePod(parts: OperationParts, task: Task): Promise<void> {
  const failures = await undoContainer(parts, task);
  if (failures.length === 0) return await forgetLeftOver(parts, task);
  if (task.conf.retryDeleteOnError) throw failures[0];
  await keep(parts, task, failures);
}

/** What was left over of this container is done with it; if it cannot be dropped, doing it again is harmless. */
async function forgetLeftOver(
  { spool }: OperationParts,
  { call: { args: { containerId }, log } }: Task,
): Promise<void> {
  try {
    await spool.forget(containerId);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log.error(`Cannot drop a left-over DEL that is done: ${reason}`);
  }
}

async function undoContainer(
  parts: OperationParts,
  task: Task,
): Promise<readonly CniError[]> {
  const found = await findRecord(parts, task);
  const container = containerOf(task);
  if (found instanceof DamagedRecordError) {
    return await undoDamaged(parts, task, found);
  }
  if (found === undefined) {
    const signal = AbortSignal.timeout(UNDO_MS);
    return await undoLost(toolsOf(parts, task), { container, signal });
  }
  using handle = found;
  const netns = container.netns === ""
    ? laterNetns(handle.record.netns)
    : container.netns;
  const failures = await undo(parts, task, {
    handle,
    container: { ...container, netns },
  });
  return errorsOf(failures);
}

/**
 * Undoes a container without its record, and only then puts that aside: until
 * then it says that there is something to undo, also to the next attempt.
 */
async function undoDamaged(
  parts: OperationParts,
  task: Task,
  damage: DamagedRecordError,
): Promise<readonly CniError[]> {
  const { containerId } = task.call.args;
  task.call.log.error(damage.message);
  const { selected, failure } = await selectAgain(parts, task);
  const failures = await undoLost(toolsOf(parts, task), {
    container: containerOf(task),
    ...(selected === undefined ? {} : { selected }),
    signal: AbortSignal.timeout(UNDO_MS),
  });
  if (failure !== undefined) failures.push(failure);
  if (failures.length > 0) return failures;
  const path = await parts.records.quarantine(containerId);
  const message =
    `The attachment record of the pod was damaged: its networks were undone by other means, the record is kept in ${path}`;
  task.call.log.error(message);
  await tellPod(parts, task, message);
  return failures;
}

/** How long the cluster is asked what a pod with a damaged record was to be attached to. */
const SELECT_AGAIN_MS = 10_000;

/**
 * What the pod asks for now, or why that cannot be told yet. A pod or a network
 * that is gone is no reason to wait: then the rest has to do.
 */
async function selectAgain(
  parts: OperationParts,
  task: Task,
): Promise<Pick<LostOptions, "selected"> & { failure?: CniError }> {
  const timeout = AbortSignal.timeout(SELECT_AGAIN_MS);
  const signal = AbortSignal.any([task.signal, timeout]);
  try {
    const { pod: identity } = readPodArgs(task.call.args);
    const link = await parts.linkOf(task.conf);
    const pod = await findPod(link, identity, signal).catch((error) => {
      if (isLater(error)) throw error;
      const { namespace, name, uid } = identity;
      return { namespace, name, uid, annotations: {} };
    });
    const found = { pod, link };
    const { delegates } = await selectFor(parts, { ...task, signal }, found);
    return { selected: { pod: identity, delegates } };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const message =
      `Cannot find out what a damaged attachment record held: ${reason}`;
    if (isLater(error)) {
      return { failure: new CniError(ErrorCode.tryAgainLater, message) };
    }
    task.call.log.error(message);
    return {};
  }
}

/** Whether the answer is only late, not "no". */
function isLater(error: unknown): boolean {
  return error instanceof ApiUnavailableError ||
    error instanceof ApiStatusError || error instanceof CredentialsError ||
    error instanceof DOMException ||
    (error instanceof CniError && error.code === ErrorCode.tryAgainLater);
}

/** An event on the task's pod, if it can be found out which that is. */
async function tellPod(
  parts: OperationParts,
  task: Task,
  message: string,
): Promise<void> {
  try {
    const { pod: { namespace, name, uid } } = readPodArgs(task.call.args);
    const link = await parts.linkOf(task.conf);
    link?.cluster.postEvent({
      pod: { namespace, name, uid },
      type: "Warning",
      reason: "AttachmentRecordDamaged",
      message,
    });
  } catch {
    // It is in the log; a DEL does not need a pod.
  }
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
      const found = await findRecord(parts, task);
      if (found instanceof DamagedRecordError) {
        throw new CniError(ErrorCode.ioFailure, found.message, {
          cause: found,
        });
      }
      if (found === undefined) {
        throw new CniError(
          ErrorCode.unknownContainer,
          `Nothing is attached to container ${quote(call.args.containerId)}`,
        );
      }
      using _held = found;
      await checkAll(found.record, toolsOf(parts, task), {
        container: containerOf(task),
        signal: task.signal,
      });
    },
  });
}
