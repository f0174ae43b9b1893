/**
 * What the cluster is told about attachments: the network-status annotation
 * and events. All of it leaves by the side: a request never waits for it, and
 * never fails because of it. What an ADD has to tell is put together after its
 * answer has been sent: beginning a request to the API server takes a part of
 * what the whole ADD takes. Retrying, and the API server's pace, are the status
 * writer's and the event recorder's.
 */
import type { DeviceInfoFiles } from "../devices/device_info.ts";
import type { EventTarget } from "../kube/events.ts";
import type { Log } from "../log.ts";
import {
  buildNetworkStatus,
  formatNetworkStatus,
  type StatusSource,
} from "../selection/network_status.ts";
import type { NetworkNotFoundError } from "../selection/select_delegates.ts";
import type { Warning } from "../selection/selection_warnings.ts";
import { deviceInfoKey } from "./attachments.ts";
import type { ClusterLink } from "./cluster_link.ts";
import type { AttachmentRecord, RecordedAttachment } from "./record_format.ts";

/** Attachments that have been made. */
export interface Added {
  /** Where it is told; nowhere without a cluster. */
  readonly link: ClusterLink | undefined;
  /** The pod, by the UID that the API knows. */
  readonly pod: EventTarget;
  /** What is attached to its container. */
  readonly record: AttachmentRecord;
  /** What the pod's owner should know. */
  readonly warnings: readonly Warning[];
  /** How many of the record's last attachments are new. */
  readonly added: number;
  /** The log of the call that made them. */
  readonly log: Log;
}

/** Tells the cluster. */
export interface Publisher {
  /** Attachments are there: events for the new ones, the status of all; told in a moment. */
  added(what: Added): void;
  /** The pod asks for a network that there is not. */
  notFound(
    what: {
      link: ClusterLink | undefined;
      pod: EventTarget;
      error: NetworkNotFoundError;
    },
  ): void;
  /** The record of a pod that goes on has changed: its status is written anew. */
  changed(
    what: { link: ClusterLink | undefined; record: AttachmentRecord },
  ): void;
  /** The network-status that a record stands for. */
  statusOf(record: AttachmentRecord): Promise<string>;
  /** Resolves when all that was given so far is with those who write it. */
  settled(): Promise<void>;
}

/** What the publisher works with. */
export interface PublisherTools {
  /** What plugins say of their devices. */
  readonly deviceInfo: DeviceInfoFiles;
  /** Where it is said what could not be told. */
  readonly log: Log;
}

/** The addresses of an attachment's own interface, for people. */
function addressesOf({ result }: RecordedAttachment): string {
  return (result?.ips ?? []).map((ip) => ip.address).join(" ");
}

/** The text of network-status for all that is attached. */
async function statusText(
  record: AttachmentRecord,
  tools: PublisherTools,
): Promise<string> {
  const sources: StatusSource[] = [];
  for (const attachment of record.attachments) {
    if (attachment.state !== "done" || attachment.result === undefined) {
      continue;
    }
    const { name: displayName, ifname, isDefault, result, deviceInfoFile } =
      attachment;
    const info = deviceInfoFile === undefined
      ? undefined
      : await readDeviceInfo(record, attachment, tools);
    sources.push({
      delegate: { displayName, ifname, isDefault },
      result,
      ...(info === undefined ? {} : { deviceInfo: info }),
    });
  }
  return formatNetworkStatus(buildNetworkStatus(sources));
}

/** What the file says of the device; a file that cannot be used takes only its own part from the status. */
async function readDeviceInfo(
  { containerId }: AttachmentRecord,
  attachment: RecordedAttachment,
  { deviceInfo, log }: PublisherTools,
): Promise<unknown> {
  try {
    return await deviceInfo.read(deviceInfoKey(containerId, attachment));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log.error(`The status is written without device-info: ${reason}`, {
      container: containerId,
      network: attachment.name,
      interface: attachment.ifname,
    });
    return undefined;
  }
}

async function writeStatus(
  link: ClusterLink,
  record: AttachmentRecord,
  tools: PublisherTools,
): Promise<void> {
  if (record.pod === undefined || record.pod.uid === "") return;
  link.status.enqueue(record.pod, await statusText(record, tools));
}

function targetOf({ namespace, name, uid }: EventTarget): EventTarget {
  return { namespace, name, uid };
}

function announce({ link, pod, record, warnings, added }: Added): void {
  for (const attachment of record.attachments.slice(-added)) {
    link?.cluster.postEvent({
      pod: targetOf(pod),
      type: "Normal",
      reason: "AddedInterface",
      message: `Add ${attachment.ifname} [${
        addressesOf(attachment)
      }] from ${attachment.name}`,
    });
  }
  for (const warning of warnings) {
    link?.cluster.postEvent({
      pod: targetOf(pod),
      type: "Warning",
      reason: warning.reason,
      message: warning.message,
    });
  }
}

/**
 * Until what was made is told: about as long as the shim takes to print the answer and to exit, which needs the
 * processors more. Told at once, it made a whole ADD 0.5 ms longer.
 */
const WAIT_MS = 3;

/** Makes the publisher; what it cannot even put together is logged. */
export function createPublisher(tools: PublisherTools): Publisher {
  const running = new Set<Promise<void>>();
  const write = (
    link: ClusterLink | undefined,
    record: AttachmentRecord,
    log: Log = tools.log,
  ): void => {
    if (link === undefined) return;
    const writing = writeStatus(link, record, { ...tools, log })
      .catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        log.error(`Cannot put the network status together: ${reason}`, {
          container: record.containerId,
        });
      })
      .finally(() => running.delete(writing));
    running.add(writing);
  };
  const waiting: Added[] = [];
  const tell = (): void => {
    for (const what of waiting.splice(0)) {
      write(what.link, what.record, what.log);
      announce(what);
    }
  };
  return {
    added(what): void {
      if (waiting.push(what) === 1) setTimeout(tell, WAIT_MS);
    },
    notFound: ({ link, pod, error }) =>
      link?.cluster.postEvent({
        pod: targetOf(pod),
        type: "Warning",
        reason: "NoNetworkFound",
        message: error.message,
      }),
    changed({ link, record }): void {
      tell(); // What was made before this change is older.
      write(link, record);
    },
    statusOf: (record) => statusText(record, tools),
    async settled(): Promise<void> {
      tell();
      await Promise.all(running);
    },
  };
}
