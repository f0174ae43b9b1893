/**
 * Making and undoing the attachments of one container: runs the delegates of
 * a record, keeps the record true while it does, and changes default routes.
 * Which delegates there are was decided before (`lib/selection`); when an
 * attachment is undone, and what an error means for the runtime, is the
 * business of the operations.
 *
 * Needs what the plugins' Exec, the result cache, records and the default-route script need.
 */
import type { CniArgs } from "../cni/args.ts";
import { parseConf } from "../cni/conf.ts";
import { CniError, ErrorCode, quote } from "../cni/error.ts";
import {
  addNetworkList,
  type AttachmentArgs,
  checkNetworkList,
  delNetworkList,
  findPlugins,
  type Runtime,
} from "../cni/list.ts";
import { present } from "../cni/present.ts";
import type { Result } from "../cni/result.ts";
import { formatResult } from "../cni/result.ts";
import { supportsCommand } from "../cni/version.ts";
import type { DeviceInfoFiles, DeviceInfoKey } from "../devices/device_info.ts";
import type { DefaultRoutes } from "../host/default_routes.ts";
import { buildCapabilityArgs } from "../selection/capability_args.ts";
import { buildCniArgs } from "../selection/cni_args.ts";
import {
  changeDefaultRoutes,
  type KernelStep,
} from "../selection/default_route.ts";
import type { Delegate, PodIdentity } from "../selection/delegate.ts";
import type { AttachmentRecord, RecordedAttachment } from "./record_format.ts";
import { mustUndo, type NewAttachment, type RecordHandle } from "./records.ts";

/** What attachments are made with. */
export interface AttachmentTools {
  /** What plugins are run with. */
  readonly runtime: Runtime;
  /** Changes default routes in a pod. */
  readonly defaultRoutes: DefaultRoutes;
  /** Device information files. */
  readonly deviceInfo: DeviceInfoFiles;
  /** Told when what a device plugin said could not be handed on. */
  readonly onDeviceInfoProblem: (
    attachment: RecordedAttachment,
    error: unknown,
  ) => void;
  /** This boot of the machine: what another one recorded is not trusted. */
  readonly bootId: string;
}

/** The container that attachments belong to. */
export interface ContainerArgs {
  /** CNI_CONTAINERID. */
  readonly containerId: string;
  /** CNI_NETNS; may be empty for DEL. */
  readonly netns: string;
  /** What the runtime passed; for a record that does not hold its own. */
  readonly cniArgs: CniArgs;
}

/** A delegate as it is written down before it runs. */
export function toRecorded(
  delegate: Delegate,
  pod: PodIdentity,
  runtimeArgs: CniArgs,
): NewAttachment {
  const { selection, defaultRoute } = delegate;
  return {
    config: delegate.list.text,
    name: delegate.displayName,
    ifname: delegate.ifname,
    isDefault: delegate.isDefault,
    source: delegate.source,
    cniArgs: buildCniArgs(pod, delegate, runtimeArgs),
    capabilityArgs: buildCapabilityArgs(delegate),
    isFilterV4Gateway: defaultRoute.v4.kind === "lose",
    isFilterV6Gateway: defaultRoute.v6.kind === "lose",
    ...present({
      definition: delegate.definition,
      macRequest: selection?.mac,
      ipRequest: selection?.ips,
      gatewayRequest: selection?.defaultRoute,
      deviceId: delegate.deviceId,
      resourceName: delegate.resourceName,
      deviceInfoFile: delegate.deviceInfoFile,
    }),
  };
}

/** What the plugins of a recorded attachment are told. */
export function argsOf(
  container: ContainerArgs,
  attachment: Pick<
    RecordedAttachment,
    "ifname" | "cniArgs" | "capabilityArgs"
  >,
): AttachmentArgs {
  return {
    containerId: container.containerId,
    netns: container.netns,
    ifname: attachment.ifname,
    cniArgs: attachment.cniArgs ?? container.cniArgs,
    capabilityArgs: attachment.capabilityArgs ?? {},
  };
}

/** `error` with the network and the interface that it is about in front. */
export function about(
  verb: string,
  attachment: Pick<RecordedAttachment, "name" | "ifname">,
  error: unknown,
): CniError {
  const preposition = verb === "detach" ? "from" : "as";
  const subject = `Cannot ${verb} ${
    quote(attachment.name)
  } ${preposition} ${attachment.ifname}`;
  if (error instanceof CniError) {
    return new CniError(error.code, `${subject}: ${error.message}`, {
      details: error.details,
      cause: error,
    });
  }
  const reason = error instanceof Error ? error.message : String(error);
  const code = isTimeout(error) ? ErrorCode.tryAgainLater : ErrorCode.internal;
  return new CniError(code, `${subject}: ${reason}`, { cause: error });
}

function isTimeout(error: unknown): boolean {
  return error instanceof DOMException &&
    (error.name === "TimeoutError" || error.name === "AbortError");
}

/**
 * Finds the plugins of all delegates, before anything is recorded or run: an ADD that cannot be done
 * leaves no plugin behind that could not be undone either.
 *
 * @throws {CniError} of the first that is missing, with network and interface named.
 */
export async function assertInstalled(
  runtime: Runtime,
  delegates: readonly Delegate[],
): Promise<void> {
  for (const { list, displayName: name, ifname } of delegates) {
    try {
      await findPlugins(runtime, list);
    } catch (error) {
      throw about("attach", { name, ifname }, error);
    }
  }
}

/**
 * Runs the ADD of each attachment in `range` of a record, in order, then puts
 * the default routes right. That one is begun is in the record before its
 * plugins run; what it came to is written down while the next one's run, and
 * before this resolves: until then "begun" says that it has to be undone.
 *
 * @throws {CniError} of the first that fails, with network and interface named; what was begun stays for {@link detachAll}.
 */
export async function attachAll(
  handle: RecordHandle,
  tools: AttachmentTools,
  options: {
    delegates: readonly Delegate[];
    container: ContainerArgs;
    first: number;
    signal: AbortSignal;
  },
): Promise<Result[]> {
  const { container, signal } = options;
  const results: Result[] = [];
  const behind = createBehind();
  const runtime = { ...tools.runtime, onStart: behind.go };
  for (const offset of options.delegates.keys()) {
    const index = options.first + offset;
    const attachment = attachmentAt(handle.record, index);
    await handle.update(index, { state: "begun" });
    try {
      await provideDevice(tools, container, attachment);
      const list = parseConf(attachment.config);
      const result = await addNetworkList(runtime, list, {
        attachment: argsOf(container, attachment),
        signal,
      });
      results.push(result);
    } catch (error) {
      // Of the two errors the plugin's is the one to tell.
      await behind.finish().catch(() => {});
      throw about("attach", attachment, error);
    }
    await behind.finish();
    const result = results.at(-1) as Result;
    behind.put(() => handle.update(index, { state: "done", result }));
  }
  await behind.finish();
  return await changeRoutes(handle, tools, { ...options, results });
}

/** Work that is done while something else is waited for. */
interface Behind {
  /** Has it done with the next `go` or `finish`. */
  put(work: () => Promise<void>): void;
  /** Begins it; nobody waits. */
  go(): void;
  /** Resolves when it is done; rejects with what it throws. */
  finish(): Promise<void>;
}

function createBehind(): Behind {
  let waiting: (() => Promise<void>) | undefined;
  let running: Promise<void> = Promise.resolve();
  const go = (): void => {
    if (waiting === undefined) return;
    running = waiting();
    waiting = undefined;
    running.catch(() => {}); // `finish` tells.
  };
  return {
    put: (work) => void (waiting = work),
    go,
    finish: () => {
      go();
      return running;
    },
  };
}

/**
 * Puts what the device plugin said of the attachment's device where the plugins look for it. They work
 * without it, too, so that what cannot be put there is told and no reason to fail.
 */
async function provideDevice(
  { deviceInfo, onDeviceInfoProblem }: AttachmentTools,
  container: ContainerArgs,
  attachment: RecordedAttachment,
): Promise<void> {
  const { deviceId, resourceName, deviceInfoFile } = attachment;
  if (
    deviceId === undefined || resourceName === undefined ||
    deviceInfoFile === undefined
  ) return;
  const { containerId } = container;
  try {
    await deviceInfo.provide(deviceInfoKey(containerId, attachment), {
      resourceName,
      deviceId,
    });
  } catch (error) {
    onDeviceInfoProblem(attachment, error);
  }
}

function attachmentAt(
  record: AttachmentRecord,
  index: number,
): RecordedAttachment {
  const attachment = record.attachments[index];
  if (attachment === undefined) {
    throw new RangeError(
      `Record of ${record.containerId} has no attachment ${index}`,
    );
  }
  return attachment;
}

/** Makes kernel, records and cached results agree about default routes. */
async function changeRoutes(
  handle: RecordHandle,
  tools: AttachmentTools,
  options: {
    delegates: readonly Delegate[];
    container: ContainerArgs;
    first: number;
    results: readonly Result[];
    signal: AbortSignal;
  },
): Promise<Result[]> {
  const { delegates, container, first, results, signal } = options;
  const routed = delegates.map((delegate, index) => ({
    ifname: delegate.ifname,
    defaultRoute: delegate.defaultRoute,
    result: results[index] ?? { interfaces: [], ips: [], routes: [] },
  }));
  const changes = changeDefaultRoutes(routed);
  for (const step of changes.steps) {
    try {
      await changeRoute(tools.defaultRoutes, step, { container, signal });
    } catch (error) {
      const attachment = handle.record.attachments.find(({ ifname }) =>
        ifname === step.ifname
      ) ?? attachmentAt(handle.record, first);
      throw about("attach", attachment, error);
    }
  }
  for (const [index, result] of changes.results.entries()) {
    if (JSON.stringify(result) === JSON.stringify(results[index])) continue;
    await keepResult(tools.runtime, {
      attachment: attachmentAt(handle.record, first + index),
      container,
      result,
    });
    await handle.update(first + index, { state: "done", result });
  }
  return [...changes.results];
}

async function changeRoute(
  defaultRoutes: DefaultRoutes,
  step: KernelStep & { readonly ifname: string },
  options: { container: ContainerArgs; signal: AbortSignal },
): Promise<void> {
  const { container: { netns }, signal } = options;
  const { ifname, family } = step;
  if (step.action === "del") {
    return await defaultRoutes.remove(netns, ifname, family, { signal });
  }
  await defaultRoutes.add(netns, ifname, family, step.gateway, { signal });
}

/** Puts a changed result into libcni's cache, where CHECK and DEL of the plugins take it from. */
async function keepResult(
  runtime: Runtime,
  changed: {
    attachment: RecordedAttachment;
    container: ContainerArgs;
    result: Result;
  },
): Promise<void> {
  const list = parseConf(changed.attachment.config);
  const key = {
    networkName: list.name,
    containerId: changed.container.containerId,
    ifname: changed.attachment.ifname,
  };
  const cached = await runtime.cache.read(key);
  if (cached === undefined) return;
  await runtime.cache.write({
    ...cached,
    result: JSON.stringify(formatResult(changed.result, list.cniVersion)),
  });
}

/** An attachment that could not be undone, and why. */
export interface DetachFailure {
  /** The attachment. */
  readonly attachment: RecordedAttachment;
  /** Why it could not be undone. */
  readonly error: CniError;
}

/**
 * Whether a plugin says to DEL word for word what it said to ADD: it refuses its configuration (a card that
 * is not there, a mode that it does not know) before it does anything. Then there is nothing to undo, and
 * each new try of the pod would leave one more DEL that fails for ever. Only the first plugin of a chain can
 * say so for the whole; a plugin that was ended, or asks for patience, says nothing of the kind.
 */
function isRefused(
  attachment: RecordedAttachment,
  { refusal, error }: { refusal: CniError | undefined; error: unknown },
): boolean {
  if (attachment.state !== "begun" || !(error instanceof CniError)) {
    return false;
  }
  const { code, message } = error;
  if (refusal?.code !== code || refusal.message !== message) return false;
  const [first, ...others] = parseConf(attachment.config).plugins;
  return code !== ErrorCode.tryAgainLater &&
    message.startsWith(`plugin ${first?.type}: `) &&
    others.every(({ type }) => type !== first?.type);
}

/**
 * Undoes what was begun in a record, from `from` up to before `to`, the last first; one that fails does not
 * keep the others from being undone, and is returned. `refusal` is what the ADD that is undone failed with.
 */
export async function detachAll(
  handle: RecordHandle,
  tools: AttachmentTools,
  options: {
    container: ContainerArgs;
    from?: number;
    to?: number;
    refusal?: CniError | undefined;
    signal: AbortSignal;
  },
): Promise<DetachFailure[]> {
  const { container, from = 0, refusal, signal } = options;
  const to = options.to ?? handle.record.attachments.length;
  const failures: DetachFailure[] = [];
  for (let index = to - 1; index >= from; index--) {
    const attachment = attachmentAt(handle.record, index);
    const recorded = handle.record.bootId;
    if (!mustUndo(attachment, { recorded, current: tools.bootId })) continue;
    try {
      await detach(tools, { attachment, container, refusal, signal });
      await handle.update(index, { state: "undone" });
    } catch (error) {
      failures.push({ attachment, error: about("detach", attachment, error) });
    }
  }
  return failures;
}

async function detach(
  tools: AttachmentTools,
  options: {
    attachment: RecordedAttachment;
    container: ContainerArgs;
    refusal: CniError | undefined;
    signal: AbortSignal;
  },
): Promise<void> {
  const { attachment, container, refusal, signal } = options;
  try {
    await delNetworkList(tools.runtime, parseConf(attachment.config), {
      attachment: argsOf(container, attachment),
      result: attachment.result,
      signal,
    });
  } catch (error) {
    if (!isRefused(attachment, { refusal, error })) throw error;
  }
  if (attachment.deviceInfoFile === undefined) return;
  await tools.deviceInfo.remove(
    deviceInfoKey(container.containerId, attachment),
  );
}

/** Which device information file is an attachment's own. */
export function deviceInfoKey(
  containerId: string,
  attachment: { readonly name: string; readonly ifname: string },
): DeviceInfoKey {
  return { network: attachment.name, containerId, ifname: attachment.ifname };
}

/**
 * Checks the attachments of a record in order; those whose version has no CHECK are passed over.
 *
 * @throws {CniError} of the first that is not as it should be.
 */
export async function checkAll(
  record: AttachmentRecord,
  tools: AttachmentTools,
  options: { container: ContainerArgs; signal: AbortSignal },
): Promise<void> {
  for (const attachment of record.attachments) {
    if (attachment.state !== "done") continue;
    const list = parseConf(attachment.config);
    if (!supportsCommand("CHECK", list.cniVersion)) continue;
    try {
      await checkNetworkList(tools.runtime, list, {
        attachment: argsOf(options.container, attachment),
        signal: options.signal,
      });
    } catch (error) {
      throw about("check", attachment, error);
    }
  }
}
