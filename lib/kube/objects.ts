/**
 * The objects of the cluster as this project keeps them: only what is used, because
 * a node may know thousands and every byte is paid for on every node. Objects of
 * the API go in as they come, of whatever shape; nothing here throws.
 *
 * @module
 */
import type {
  ExtendedResourceClaimStatus,
  PodClaims,
  RequestMapping,
  ResourceClaimReference,
} from "../claim_objects.ts";
import { present } from "../cni/present.ts";
import { asArray, asObject, asText, type JsonObject } from "./json_value.ts";

/** A pod. */
export interface Pod extends PodClaims {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name in the namespace. */
  readonly name: string;
  /** The UID that the API knows it by. For a static pod that is its mirror's, not the kubelet's. */
  readonly uid: string;
  /** Where it runs. */
  readonly nodeName?: string;
  /** It shares the network of its node. */
  readonly hostNetwork?: boolean;
  /** As the kubelet last said. */
  readonly phase?: string;
  /** It is being deleted. */
  readonly deleting?: boolean;
  /** Only those of `POD_ANNOTATIONS`. */
  readonly annotations: Readonly<Record<string, string>>;
  /** All its containers, those that come first too. */
  readonly containerNames?: readonly string[];
}

/** A NetworkAttachmentDefinition. */
export interface NetworkAttachment {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name in the namespace. */
  readonly name: string;
  /** CNI configuration as its author wrote it; without it a file on the node is meant. */
  readonly config?: string;
  /** The device plugin resource whose devices it wants. */
  readonly resourceName?: string;
}

/** Names the networks that a pod asks for. */
export const NETWORKS_ANNOTATION = "k8s.v1.cni.cncf.io/networks";
/** Tells the networks that a pod got. */
export const NETWORK_STATUS_ANNOTATION = "k8s.v1.cni.cncf.io/network-status";
/** Replaces the default network of one pod. */
export const DEFAULT_NETWORK_ANNOTATION = "v1.multus-cni.io/default-network";
/** On a NetworkAttachmentDefinition: the resource whose devices it wants. */
export const RESOURCE_NAME_ANNOTATION = "k8s.v1.cni.cncf.io/resourceName";

const CONFIG_SOURCE_ANNOTATION = "kubernetes.io/config.source";
const CONFIG_HASH_ANNOTATION = "kubernetes.io/config.hash";
const CONFIG_MIRROR_ANNOTATION = "kubernetes.io/config.mirror";

/** The annotations of pods that are kept. */
export const POD_ANNOTATIONS: readonly string[] = [
  NETWORKS_ANNOTATION,
  NETWORK_STATUS_ANNOTATION,
  DEFAULT_NETWORK_ANNOTATION,
  CONFIG_SOURCE_ANNOTATION,
  CONFIG_HASH_ANNOTATION,
  CONFIG_MIRROR_ANNOTATION,
];

/** Keeps what is used of a pod. */
export function trimPod(value: unknown): Pod {
  const { metadata, spec, status } = asParts(value);
  const annotations = asObject(metadata.annotations);
  const kept = POD_ANNOTATIONS.flatMap((name): [string, string][] => {
    const text = asText(annotations[name]);
    return text === undefined ? [] : [[name, text]];
  });
  return {
    namespace: asText(metadata.namespace) ?? "",
    name: asText(metadata.name) ?? "",
    uid: asText(metadata.uid) ?? "",
    annotations: Object.fromEntries(kept),
    containerNames: containerNames(spec),
    ...present({
      nodeName: asText(spec.nodeName),
      hostNetwork: spec.hostNetwork === true ? true : undefined,
      phase: asText(status.phase),
      deleting: metadata.deletionTimestamp ? true : undefined,
      resourceClaims: toClaims(spec.resourceClaims),
      resourceClaimStatuses: toClaims(status.resourceClaimStatuses),
      extendedResourceClaimStatus: toExtendedClaim(
        status.extendedResourceClaimStatus,
      ),
    }),
  };
}

/** Keeps what is used of a NetworkAttachmentDefinition. */
export function trimAttachment(value: unknown): NetworkAttachment {
  const { metadata, spec } = asParts(value);
  // An empty string is what older tools write for "in a file".
  const config = asText(spec.config) || undefined;
  const resourceName = asText(
    asObject(metadata.annotations)[RESOURCE_NAME_ANNOTATION],
  );
  return {
    namespace: asText(metadata.namespace) ?? "",
    name: asText(metadata.name) ?? "",
    ...present({ config, resourceName: resourceName || undefined }),
  };
}

/**
 * Says whether this is the pod that a runtime means by a UID. The kubelet knows a
 * static pod by a hash of its manifest, and the API knows its mirror by another
 * UID; the mirror's annotations carry the hash.
 */
export function isPodOfUid(pod: Pod, uid: string): boolean {
  if (pod.uid === uid) return true;
  const source = pod.annotations[CONFIG_SOURCE_ANNOTATION];
  const mirror = pod.annotations[CONFIG_MIRROR_ANNOTATION];
  const isStatic = mirror !== undefined ||
    (source !== undefined && source !== "api");
  if (!isStatic) return false;
  const hashes = [mirror, pod.annotations[CONFIG_HASH_ANNOTATION]]
    .filter((hash) => hash !== undefined && hash !== "");
  return hashes.length === 0 || hashes.includes(uid);
}

/** The name of an object in caches and messages. */
export function objectKey(
  object: { namespace: string; name: string },
): string {
  return `${object.namespace}/${object.name}`;
}

function asParts(value: unknown): {
  metadata: JsonObject;
  spec: JsonObject;
  status: JsonObject;
} {
  const { metadata, spec, status } = asObject(value);
  return {
    metadata: asObject(metadata),
    spec: asObject(spec),
    status: asObject(status),
  };
}

/** Devices are given to init containers too. */
function containerNames(spec: JsonObject): string[] {
  return [...asArray(spec.initContainers), ...asArray(spec.containers)]
    .map((container) => asText(asObject(container).name))
    .filter((name) => name !== undefined);
}

function toClaims(
  value: unknown,
): readonly ResourceClaimReference[] | undefined {
  const claims = asArray(value).flatMap((item): ResourceClaimReference[] => {
    const { name, resourceClaimName } = asObject(item);
    const text = asText(name);
    if (text === undefined) return [];
    const claim = { resourceClaimName: asText(resourceClaimName) };
    return [{ name: text, ...present(claim) }];
  });
  return claims.length === 0 ? undefined : claims;
}

function toExtendedClaim(
  value: unknown,
): ExtendedResourceClaimStatus | undefined {
  const { resourceClaimName, requestMappings } = asObject(value);
  const name = asText(resourceClaimName);
  if (name === undefined) return undefined;
  const mappings = asArray(requestMappings).map((item): RequestMapping => {
    const { containerName, requestName, resourceName } = asObject(item);
    return {
      requestName: asText(requestName) ?? "",
      resourceName: asText(resourceName) ?? "",
      ...present({ containerName: asText(containerName) }),
    };
  });
  return { resourceClaimName: name, requestMappings: mappings };
}
