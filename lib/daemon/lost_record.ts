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
  readonly network: string;
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
 * Undoes what is known of the container, the last first; why something could not be undone.
 *
 * @throws {CniError} 5 when the cache cannot be listed.
 */
export async function undoLost(
  tools: AttachmentTools,
  options: LostOptions,
): Promise<CniError[]> {
  const { container, signal } = options;
  const { cache } = tools.runtime;
  const { containerId } = container;
  const cached = await cache.list({ containerId });
  const inCache = cached.attachments.filter(({ config }) => config !== "").map(
    (attachment): Known => ({
      name: attachment.networkName,
      ifname: attachment.ifname,
      network: attachment.networkName,
      config: attachment.config,
      attachment,
    }),
  );
  const isCached = (known: Known): boolean =>
    inCache.some(({ network, ifname }) =>
      network === known.network && ifname === known.ifname
    );
  const notCached = selectedOf(options).filter((known) => !isCached(known));
  const failures: CniError[] = [];
  for (const known of [...inCache, ...notCached].reverse()) {
    try {
      const list = parseConf(known.config);
      const { attachment } = known;
      await delNetworkList(tools.runtime, list, { attachment, signal });
    } catch (error) {
      failures.push(about("detach", known, error));
    }
  }
  // Damaged files of the cache: what they held is undone, or nobody knows it any more.
  if (failures.length === 0) await removeAll(cached.unreadable);
  return failures;
}

function selectedOf({ selected, container }: LostOptions): Known[] {
  if (selected === undefined) return [];
  return selected.delegates.map((delegate) => {
    const recorded = toRecorded(delegate, selected.pod, container.cniArgs);
    return {
      name: recorded.name,
      ifname: recorded.ifname,
      network: delegate.list.name,
      config: recorded.config,
      attachment: argsOf(container, recorded),
    };
  });
}

async function removeAll(files: readonly { path: string }[]): Promise<void> {
  for (const { path } of files) {
    try {
      await Deno.remove(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}
