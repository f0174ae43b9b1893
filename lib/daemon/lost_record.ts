/**
 * Undoing a container whose record is lost or damaged, or was never ours: by
 * libcni's result cache, which holds each configuration as it was run; and
 * where a record is damaged also by what the pod asks for now, because an
 * attachment that was only begun is not in the cache. What is undone twice, or
 * was never there, does no harm.
 */
import { parseConf } from "../cni/conf.ts";
import type { CniError } from "../cni/error.ts";
import { type AttachmentArgs, delNetworkList } from "../cni/list.ts";
import type { Delegate, PodIdentity } from "../selection/delegate.ts";
import {
  about,
  argsOf,
  type AttachmentTools,
  type ContainerArgs,
  toRecorded,
} from "./attachments.ts";

/** One attachment as it is known without a record. */
interface Known {
  readonly name: string;
  readonly ifname: string;
  readonly config: string;
  readonly attachment: AttachmentArgs;
}

/** What a container may be attached to. */
export interface LostOptions {
  /** The container. */
  readonly container: ContainerArgs;
  /** What the pod asks for now, where the cache may not be all. */
  readonly selected?: {
    /** The pod. */
    readonly pod: PodIdentity;
    /** Its networks. */
    readonly delegates: readonly Delegate[];
  };
  /** Ends it. */
  readonly signal: AbortSignal;
}

/**
 * Undoes what is known of the container, the last first; why something could
 * not be undone. A result may be as damaged as the record: where the pod asks
 * for the same interface now, that is undone too, and counts as well.
 *
 * @throws {CniError} 5 when the cache cannot be listed.
 */
export async function undoLost(
  tools: AttachmentTools,
  options: LostOptions,
): Promise<CniError[]> {
  const { container: { containerId }, signal } = options;
  const cached = await cachedOf(tools, containerId);
  const selected = selectedOf(options);
  const undone = new Set<string>();
  const failures = new Map<string, CniError>();
  for (const known of [...cached, ...selected].reverse()) {
    const failure = await undoKnown(tools, known, signal);
    if (failure === undefined) undone.add(known.ifname);
    else failures.set(known.ifname, failure);
  }
  const left = [...failures].filter(([ifname]) => !undone.has(ifname));
  if (left.length === 0) await tools.runtime.cache.clear(containerId);
  return left.map(([, failure]) => failure);
}

async function undoKnown(
  { runtime }: AttachmentTools,
  known: Known,
  signal: AbortSignal,
): Promise<CniError | undefined> {
  try {
    const list = parseConf(known.config);
    const { attachment } = known;
    await delNetworkList(runtime, list, { attachment, signal });
    return undefined;
  } catch (error) {
    return about("detach", known, error);
  }
}

async function cachedOf(
  { runtime }: AttachmentTools,
  containerId: string,
): Promise<Known[]> {
  const { attachments } = await runtime.cache.list({ containerId });
  return attachments.filter(({ config }) => config !== "").map(
    (attachment): Known => ({
      name: attachment.networkName,
      ifname: attachment.ifname,
      config: attachment.config,
      attachment,
    }),
  );
}

function selectedOf({ selected, container }: LostOptions): Known[] {
  if (selected === undefined) return [];
  return selected.delegates.map((delegate) => {
    const recorded = toRecorded(delegate, selected.pod, container.cniArgs);
    return {
      name: recorded.name,
      ifname: recorded.ifname,
      config: recorded.config,
      attachment: argsOf(container, recorded),
    };
  });
}
