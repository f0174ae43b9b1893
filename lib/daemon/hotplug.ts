/**
 * `POST /delegate`: one interface of a running pod, asked for by a hot-plug
 * controller. The configuration is one delegate's; the attachment goes into
 * the record of the pod's container, so that it shows up in network-status,
 * survives a restart of the daemon, and goes with the pod.
 */
import { parseConf } from "../cni/conf.ts";
import { CniError, ErrorCode, quote } from "../cni/error.ts";
import { statusNetworkList } from "../cni/list.ts";
import type { Result } from "../cni/result.ts";
import { createHotplugDelegate } from "../selection/hotplug.ts";
import { parseInterfaceAttributes } from "../selection/network_selection.ts";
import {
  assertInstalled,
  checkAll,
  detachAll,
  toRecorded,
} from "./attachments.ts";
import {
  attachOrUndo,
  containerOf,
  inLane,
  type OperationParts,
  type Task,
  toolsOf,
  UNDO_MS,
} from "./operations.ts";
import { readPodArgs } from "./pod_args.ts";
import type { RecordHandle } from "./records.ts";
import type { Call } from "./server.ts";

function findInterface(
  handle: RecordHandle | undefined,
  ifname: string,
): number {
  return handle?.record.attachments.findIndex((attachment) =>
    attachment.ifname === ifname && attachment.state !== "undone"
  ) ?? -1;
}

/**
 * ADD of one interface; its result.
 *
 * @throws {CniError} 7 when the pod has an interface of that name; what the plugins say.
 */
export function addInterface(
  parts: OperationParts,
  call: Call,
): Promise<Result> {
  return inLane(parts, call, {
    conf: parts.nodeConf(),
    lane: "add",
    work: (task) => addOne(parts, task),
  });
}

async function addOne(parts: OperationParts, task: Task): Promise<Result> {
  const { call, conf } = task;
  const { ifname, containerId, netns, stdin } = call.args;
  const podArgs = readPodArgs(call.args);
  // Asked for before anything is made: what is attached can then be told.
  const link = await parts.linkOf(conf);
  const delegate = createHotplugDelegate(parseConf(stdin), {
    pod: podArgs.pod,
    ifname,
    ...(call.attributes === undefined ? {} : {
      attributes: parseInterfaceAttributes(JSON.stringify(call.attributes)),
    }),
  });
  await assertInstalled(toolsOf(parts, task).runtime, [delegate]);
  using starting = await parts.limits.starts.pass(task.signal);
  using opened = await parts.records.open(containerId);
  await undoFailed(parts, task, opened);
  if (findInterface(opened, ifname) >= 0) {
    throw new CniError(
      ErrorCode.invalidNetworkConfig,
      `The pod has an interface of this name already: ${ifname}`,
    );
  }
  const recorded = toRecorded(delegate, podArgs.pod, podArgs.cniArgs);
  const { namespace, name, uid } = podArgs.pod;
  using handle = opened ?? await parts.records.begin({
    containerId,
    netns,
    pluginPath: call.args.path,
    pod: { namespace, name, uid },
    attachments: [recorded],
  });
  const first = opened === undefined ? 0 : await handle.append([recorded]);
  starting[Symbol.dispose]();
  const results = await attachOrUndo(parts, task, {
    handle,
    delegates: [delegate],
    podArgs,
    first,
  });
  parts.publisher.added({
    link,
    pod: podArgs.pod,
    record: handle.record,
    warnings: [],
    added: 1,
    log: call.log,
  });
  return results[0] ?? { interfaces: [], ips: [], routes: [] };
}

/** An earlier ADD of the interface that failed, and could not be undone then, is undone before the next one. */
async function undoFailed(
  parts: OperationParts,
  task: Task,
  handle: RecordHandle | undefined,
): Promise<void> {
  const attachments = handle?.record.attachments ?? [];
  const index = findInterface(handle, task.call.args.ifname);
  // The only attachment of a record is left to DEL, which removes the record with it.
  if (handle === undefined || attachments.length === 1) return;
  if (attachments[index]?.state !== "begun") return;
  const failures = await detachAll(handle, toolsOf(parts, task), {
    container: containerOf(task),
    from: index,
    to: index + 1,
    signal: AbortSignal.timeout(UNDO_MS),
  });
  if (failures.length > 0) throw failures[0]?.error;
  await handle.drop(index);
}

/**
 * DEL of one interface; one that is not there is no error.
 *
 * @throws {CniError} what the plugins say: a controller tries again by itself.
 */
export function deleteInterface(
  parts: OperationParts,
  call: Call,
): Promise<void> {
  return inLane(parts, call, {
    conf: parts.nodeConf(),
    lane: "delete",
    work: (task) => deleteOne(parts, task),
  });
}

async function deleteOne(parts: OperationParts, task: Task): Promise<void> {
  const { containerId, ifname } = task.call.args;
  using handle = await parts.records.open(containerId);
  const index = findInterface(handle, ifname);
  if (handle === undefined || index < 0) return;
  const failures = await detachAll(handle, toolsOf(parts, task), {
    container: containerOf(task),
    from: index,
    to: index + 1,
    signal: AbortSignal.timeout(UNDO_MS),
  });
  if (failures.length > 0) throw failures[0]?.error;
  if (handle.record.attachments.length === 1) {
    await parts.records.remove(containerId);
    return;
  }
  await handle.drop(index);
  parts.publisher.changed({
    // What is undone stays undone, whether or not the cluster can be told.
    link: await parts.linkOf(task.conf).catch(() => undefined),
    record: handle.record,
  });
}

/**
 * CHECK of one interface.
 *
 * @throws {CniError} 3 when it is not attached; what the plugins say.
 */
export function checkInterface(
  parts: OperationParts,
  call: Call,
): Promise<void> {
  return inLane(parts, call, {
    conf: parts.nodeConf(),
    lane: "check",
    work: async (task) => {
      const { containerId, ifname } = call.args;
      const record = await parts.records.read(containerId);
      const attachments = record?.attachments.filter((attachment) =>
        attachment.ifname === ifname
      ) ?? [];
      if (record === undefined || attachments.length === 0) {
        throw new CniError(
          ErrorCode.unknownContainer,
          `Interface ${quote(ifname)} is not attached to container ${
            quote(containerId)
          }`,
        );
      }
      await checkAll({ ...record, attachments }, toolsOf(parts, task), {
        container: containerOf(task),
        signal: task.signal,
      });
    },
  });
}

/**
 * STATUS of the one delegate in the request.
 *
 * @throws {CniError} what the plugins say.
 */
export function statusOfDelegate(
  parts: OperationParts,
  call: Call,
): Promise<void> {
  return inLane(parts, call, {
    conf: parts.nodeConf(),
    lane: "status",
    work: (task) =>
      statusNetworkList(
        toolsOf(parts, task).runtime,
        parseConf(call.args.stdin),
        { signal: task.signal },
      ),
  });
}
