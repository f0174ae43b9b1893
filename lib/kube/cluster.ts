/**
 * The cluster as the daemon sees it: pods of this node and NetworkAttachmentDefinitions
 * from caches that watches keep up, read live where a cache does not know; the
 * network status written, events said. Nothing here knows of CNI.
 *
 * With a node name, the pods of that node are cached. Without one no pod is: a cache
 * of all pods of a cluster would cost every node the memory of all of them, so each
 * pod is read when it is asked for.
 *
 * An answer is never a guess. "Not found" is said only when the API itself said so in
 * a read that began after it was asked for; if the API cannot be asked, the error is
 * `ApiUnavailableError`.
 *
 * @module
 */
import type { ResourceClaim, ResourceSlice } from "../claim_objects.ts";
import { type Api, createApi, type RequestEvent } from "./api.ts";
import type { Credentials } from "./credentials.ts";
import {
  ApiStatusError,
  ApiUnavailableError,
  AttachmentNotFoundError,
  PodNotFoundError,
  PodReplacedError,
} from "./error.ts";
import {
  createEventRecorder,
  type EventRecorder,
  type Happening,
  type PodEvent,
} from "./events.ts";
import {
  isPodOfUid,
  NETWORK_STATUS_ANNOTATION,
  type NetworkAttachment,
  objectKey,
  type Pod,
  trimAttachment,
  trimPod,
} from "./objects.ts";
import type { PaceLimits } from "./pace.ts";
import { createReadTrials, type ReadTrials } from "./read_trials.ts";
import {
  NETWORK_ATTACHMENTS,
  PODS,
  RESOURCE_CLAIMS,
  RESOURCE_SLICES,
  type ResourceType,
} from "./resource.ts";
import { trimClaim, trimSlice } from "./resource_objects.ts";
import { createSharedReads, type SharedReads } from "./shared_reads.ts";
import type { BackOffRange } from "./waiting.ts";
import { createReflector, type Reflector } from "./watch.ts";

/** How the cluster is reached, and whose daemon this is. */
export interface ClusterOptions {
  /** How the server is reached. */
  readonly credentials: Credentials;
  /** This node; without it pods are not cached. */
  readonly nodeName?: string;
  /** Told of every request, for metrics. */
  readonly onRequest?: (event: RequestEvent) => void;
  /** Told of every failure of a watch, for logs; it is dealt with already. */
  readonly onWatchFailure?: (resource: string, error: unknown) => void;
  /** Who is asking, for the server's logs. */
  readonly userAgent?: string;
  /** The source of events. */
  readonly component?: string;
  /** Limits other than `PACE_LIMITS`. */
  readonly pace?: Partial<PaceLimits>;
  /** Waits between attempts of a watch, other than the usual. */
  readonly watchBackOff?: BackOffRange;
  /** Wait between tries of live reads, other than the usual. */
  readonly liveReadsEveryMs?: number;
}

/** One object's place. */
export interface ObjectName {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name in the namespace. */
  readonly name: string;
}

/** For how long one caller waits. */
export interface WaitOptions {
  /** Ends the wait. */
  readonly signal: AbortSignal;
}

/** The cluster. */
export interface Cluster extends AsyncDisposable {
  /** For whatever else is asked of the server. */
  readonly api: Api;
  /** Begins to watch; calls after the first do nothing. */
  start(): void;
  /**
   * The pod, from the cache or live. With a UID it is that very pod; a static pod is
   * known by its hash as well.
   *
   * @throws {PodNotFoundError}
   * @throws {PodReplacedError} when another pod has its name
   * @throws {ApiUnavailableError}
   */
  getPod(
    namespace: string,
    name: string,
    options: WaitOptions & { uid?: string },
  ): Promise<Pod>;
  /**
   * The network's definition, from the cache or live.
   *
   * @throws {AttachmentNotFoundError}
   * @throws {ApiUnavailableError}
   */
  getAttachment(
    namespace: string,
    name: string,
    options: WaitOptions,
  ): Promise<NetworkAttachment>;
  /** The pods of this node as far as they are known; none without a node name. */
  listLocalPods(): readonly Pod[];
  /** The definitions as far as they are known. */
  listAttachments(): readonly NetworkAttachment[];
  /**
   * Writes the network status, if that very pod is still there. One attempt.
   *
   * @throws {ApiUnavailableError}
   * @throws {ApiStatusError} when the API refuses it for another reason
   */
  patchNetworkStatus(
    pod: ObjectName & { uid: string },
    statusJson: string,
    options: WaitOptions,
  ): Promise<"written" | "gone">;
  /** Says something about a pod; returns at once, never throws. */
  postEvent(event: PodEvent): void;
  /** Says something about this node, if its name is known; returns at once, never throws. */
  postNodeEvent(event: Happening): void;
  /** A claim of dynamic resource allocation, live. @throws {ApiStatusError} {ApiUnavailableError} */
  getResourceClaim(
    namespace: string,
    name: string,
    options: WaitOptions,
  ): Promise<ResourceClaim>;
  /** What a driver offers on a node, live. @throws {ApiStatusError} {ApiUnavailableError} */
  listResourceSlices(
    filter: { driver: string; nodeName: string },
    options: WaitOptions,
  ): Promise<readonly ResourceSlice[]>;
  /** Which caches have been complete once; pods count as such where they are not cached. */
  isSynced(): { pods: boolean; attachments: boolean };
  /** Whether pods and networks can be read one by one; known only while a cache is not complete. */
  readsLive(): boolean;
  /** Waits until all caches have been complete once. @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
  /** How long the server has been silent towards each watch; Infinity before its first word. */
  silence(): { podsMs: number; attachmentsMs: number };
  /** Until when the credentials are good, by what they say, in milliseconds since 1970. */
  credentialExpiryMs(): number | undefined;
  /** Events that wait to be said, and those given up. */
  readonly events: Pick<EventRecorder, "pending" | "dropped" | "drain">;
}

/** Makes the cluster. Needs `net` for the API server. */
export function createCluster(options: ClusterOptions): Cluster {
  const parts = createParts(options);
  const { nodeName } = options;
  const { api, events, pods, attachments } = parts;
  const trials = tryReads(options, parts);
  return {
    api,
    events,
    start: () => {
      pods.cache?.start();
      attachments.cache?.start();
      trials.start();
    },
    readsLive: () => trials.work,
    getPod: (namespace, name, { uid, signal }) =>
      getPod(pods, { namespace, name }, { uid, signal }),
    getAttachment: (namespace, name, { signal }) =>
      getAttachment(attachments, { namespace, name }, signal),
    listLocalPods: () => pods.cache?.values() ?? [],
    listAttachments: () => attachments.cache?.values() ?? [],
    patchNetworkStatus: (pod, statusJson, { signal }) =>
      patchNetworkStatus(api, pod, { statusJson, signal }),
    postEvent: (event) => events.post(event),
    postNodeEvent: (event) => {
      if (nodeName !== undefined) events.post({ ...event, node: nodeName });
    },
    getResourceClaim: (namespace, name, { signal }) =>
      getResourceClaim(api, { namespace, name }, signal),
    listResourceSlices: (filter, { signal }) =>
      listResourceSlices(api, filter, signal),
    isSynced: () => ({
      pods: pods.cache?.synced ?? true,
      attachments: attachments.cache?.synced ?? true,
    }),
    whenSynced: async (signal) => {
      await pods.cache?.whenSynced(signal);
      await attachments.cache?.whenSynced(signal);
    },
    credentialExpiryMs: () => options.credentials.expiresAtMs,
    silence: () => ({
      podsMs: pods.cache?.silentMs ?? Infinity,
      attachmentsMs: attachments.cache?.silentMs ?? Infinity,
    }),
    [Symbol.asyncDispose]: async () => {
      await Promise.all([
        trials[Symbol.asyncDispose](),
        pods.cache?.[Symbol.asyncDispose](),
        attachments.cache?.[Symbol.asyncDispose](),
        events[Symbol.asyncDispose](),
      ]);
    },
  };
}

interface Parts {
  readonly api: Api;
  readonly events: EventRecorder;
  readonly pods: Sources<Pod>;
  readonly attachments: Sources<NetworkAttachment>;
}

function createParts(options: ClusterOptions): Parts {
  const { nodeName, component } = options;
  const api = createApi(options);
  const podType = { type: PODS, trim: trimPod };
  const attachmentType = { type: NETWORK_ATTACHMENTS, trim: trimAttachment };
  const fieldSelector = `spec.nodeName=${nodeName}`;
  return {
    api,
    pods: {
      api,
      cache: nodeName === undefined
        ? undefined
        : createCache(options, api, { ...podType, fieldSelector }),
      reads: createLiveReads(api, podType),
    },
    attachments: {
      api,
      cache: createCache(options, api, attachmentType),
      reads: createLiveReads(api, attachmentType),
    },
    events: createEventRecorder({
      api,
      ...(component === undefined ? {} : { component }),
      ...(nodeName === undefined ? {} : { nodeName }),
    }),
  };
}

/** No object of this name needs to be there: that there is none is an answer, too. */
const TRIED_KEY = "default/multus-live-read";

function tryReads(
  { liveReadsEveryMs }: ClusterOptions,
  { pods, attachments }: Parts,
): ReadTrials {
  const caches = [pods.cache, attachments.cache];
  return createReadTrials({
    isNeeded: () => caches.some((cache) => cache?.synced === false),
    reads: [
      (signal) => pods.reads.read(TRIED_KEY, signal),
      (signal) => attachments.reads.read(TRIED_KEY, signal),
    ],
    ...(liveReadsEveryMs === undefined ? {} : { everyMs: liveReadsEveryMs }),
  });
}

/** A kind of object, and what is kept of it. */
interface Kind<T> {
  readonly type: ResourceType;
  readonly trim: (value: unknown) => T;
}

function createLiveReads<T>(
  api: Api,
  kind: Kind<T>,
): SharedReads<T | undefined> {
  return createSharedReads((key, signal) =>
    readLive(api, { ...kind, key, signal })
  );
}

function createCache<T extends ObjectName>(
  { onWatchFailure, watchBackOff }: ClusterOptions,
  api: Api,
  what: Kind<T> & { fieldSelector?: string },
): Reflector<T> {
  return createReflector({
    ...what,
    api,
    keyOf: objectKey,
    onFailure: (error) => onWatchFailure?.(what.type.resource, error),
    ...(watchBackOff === undefined ? {} : { backOff: watchBackOff }),
  });
}

interface Sources<T> {
  readonly api: Api;
  readonly cache: Reflector<T> | undefined;
  readonly reads: SharedReads<T | undefined>;
}

async function getPod(
  { api, cache, reads }: Sources<Pod>,
  pod: ObjectName,
  { uid, signal }: { uid: string | undefined; signal: AbortSignal },
): Promise<Pod> {
  const suits = (candidate: Pod | undefined): boolean =>
    candidate !== undefined &&
    (uid === undefined || uid === "" || isPodOfUid(candidate, uid));
  const key = objectKey(pod);
  const cached = cache?.get(key);
  if (cached !== undefined && suits(cached)) return cached;
  const live = await readFresh(reads, key, { signal, suits, api });
  if (live === undefined) throw new PodNotFoundError(pod);
  if (suits(live)) return live;
  throw new PodReplacedError(pod, { asked: uid ?? "", present: live.uid });
}

async function getAttachment(
  { api, cache, reads }: Sources<NetworkAttachment>,
  attachment: ObjectName,
  signal: AbortSignal,
): Promise<NetworkAttachment> {
  const key = objectKey(attachment);
  const cached = cache?.get(key);
  if (cached !== undefined) return cached;
  const suits = (candidate: NetworkAttachment | undefined): boolean =>
    candidate !== undefined;
  const live = await readFresh(reads, key, { signal, suits, api });
  if (live === undefined) throw new AttachmentNotFoundError(attachment);
  return live;
}

/** A live read. A "no" from a read that began before it was asked for is asked again. */
async function readFresh<T>(
  reads: SharedReads<T | undefined>,
  key: string,
  { api, signal, suits }: {
    api: Api;
    signal: AbortSignal;
    suits: (candidate: T | undefined) => boolean;
  },
): Promise<T | undefined> {
  try {
    const first = await reads.read(key, signal);
    if (!first.joined || suits(first.value)) return first.value;
    return (await reads.read(key, signal)).value;
  } catch (error) {
    const timedOut = error instanceof DOMException &&
      error.name === "TimeoutError";
    if (!timedOut) throw error;
    throw new ApiUnavailableError(api.problem ?? "no answer in time", {
      cause: error,
    });
  }
}

/** One object, undefined when the API says that there is none. */
async function readLive<T>(
  api: Api,
  { type, key, trim, signal }: Kind<T> & { key: string; signal: AbortSignal },
): Promise<T | undefined> {
  const slash = key.indexOf("/");
  const [namespace, name] = [key.slice(0, slash), key.slice(slash + 1)];
  // Without a name it would be a list.
  if (namespace === "" || name === "") return undefined;
  try {
    return trim(await api.get({ type, namespace, name }, { signal }));
  } catch (error) {
    if (!(error instanceof ApiStatusError)) throw error;
    if (error.status === NOT_FOUND) return undefined;
    // Whatever the server holds against the question, it is no answer to it.
    throw new ApiUnavailableError(refusal(error), {
      status: error.status,
      cause: error,
    });
  }
}

/** What the server said, and what is most often behind it. */
function refusal({ status, reason, detail }: ApiStatusError): string {
  const remedy = status === FORBIDDEN
    ? ": has the service account of Multus its ClusterRole?"
    : "";
  return `the server answered ${status} ${reason}: ${detail}${remedy}`;
}

const FORBIDDEN = 403;
const NOT_FOUND = 404;
const CONFLICT = 409;
const INVALID = 422;

async function patchNetworkStatus(
  api: Api,
  { namespace, name, uid }: ObjectName & { uid: string },
  { statusJson, signal }: { statusJson: string; signal: AbortSignal },
): Promise<"written" | "gone"> {
  const pod = { type: PODS, namespace, name };
  const annotations = { [NETWORK_STATUS_ANNOTATION]: statusJson };
  try {
    await api.patch(
      { ...pod, subresource: "status" },
      { metadata: { uid, annotations } },
      { signal },
    );
    return "written";
  } catch (error) {
    if (!(error instanceof ApiStatusError)) throw error;
    if (error.status === NOT_FOUND) return "gone";
    if (error.status !== CONFLICT && error.status !== INVALID) throw error;
    // Servers word a wrong UID differently; the pod itself says it plainly.
    if (await isGone(api, { ...pod, uid }, signal)) return "gone";
    throw error;
  }
}

async function isGone(
  api: Api,
  { uid, ...ref }: { type: ResourceType; uid: string } & ObjectName,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return trimPod(await api.get(ref, { signal })).uid !== uid;
  } catch (error) {
    if (error instanceof ApiStatusError && error.status === NOT_FOUND) {
      return true;
    }
    throw error;
  }
}

async function getResourceClaim(
  api: Api,
  claim: ObjectName,
  signal: AbortSignal,
): Promise<ResourceClaim> {
  return trimClaim(
    await api.get({ type: RESOURCE_CLAIMS, ...claim }, { signal }),
  );
}

async function listResourceSlices(
  api: Api,
  { driver, nodeName }: { driver: string; nodeName: string },
  signal: AbortSignal,
): Promise<readonly ResourceSlice[]> {
  const slices: ResourceSlice[] = [];
  await api.list({ type: RESOURCE_SLICES }, {
    signal,
    query: { fieldSelector: `spec.driver=${driver},spec.nodeName=${nodeName}` },
    onItem: (item) => slices.push(trimSlice(item)),
  });
  return slices;
}
