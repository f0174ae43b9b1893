/**
 * The messages of the kubelet's `v1.PodResourcesLister` that are sent and read here: which device IDs each container
 * of a pod was given, per resource. CPUs, memory, topology and dynamic resources are stepped over.
 *
 * Field numbers: `k8s.io/kubelet/pkg/apis/podresources/v1/api.proto`
 */

import { type Field, readFields, readText, writeFields } from "./protobuf.ts";

/** Devices of one resource that one container was given. A container may have several of these for one resource. */
export interface ContainerDevices {
  /** The container as the pod names it. */
  readonly containerName: string;
  /** The resource as the device plugin names it, such as `intel.com/sriov`. */
  readonly resourceName: string;
  /** In no particular order: the kubelet keeps them in a hash map. */
  readonly deviceIds: readonly string[];
}

/** What names a pod for the kubelet: it does not tell UIDs. */
export interface PodName {
  /** The pod's namespace. */
  readonly namespace: string;
  /** The pod's own name. */
  readonly name: string;
}

/** One text for a pod, as a key and for messages: neither part can hold a slash. */
export function podKey(pod: PodName): string {
  return `${pod.namespace}/${pod.name}`;
}

/** Writes a GetPodResourcesRequest. */
export function writeGetRequest(pod: PodName): Uint8Array {
  return writeFields([[1, pod.name], [2, pod.namespace]]);
}

/** Writes a ListPodResourcesRequest, which has no fields. */
export function writeListRequest(): Uint8Array {
  return new Uint8Array();
}

/**
 * Reads a GetPodResourcesResponse.
 *
 * @throws {SyntaxError} when the bytes are no such message
 */
export function readGetResponse(bytes: Uint8Array): ContainerDevices[] {
  const [pod] = fieldsNumbered(1, bytes);
  return pod === undefined ? [] : readContainers(pod);
}

/**
 * Reads a ListPodResourcesResponse, but only the pods that are wanted: a list of 16 MB shall not become as many objects.
 *
 * @param wanted keys of pods
 * @returns devices by key of pod; pods not in the list are not in the map
 * @throws {SyntaxError} when the bytes are no such message
 */
export function readListResponse(
  bytes: Uint8Array,
  wanted: ReadonlySet<string>,
): Map<string, ContainerDevices[]> {
  const found = new Map<string, ContainerDevices[]>();
  for (const pod of fieldsNumbered(1, bytes)) {
    const key = podKey({
      namespace: textNumbered(2, pod),
      name: textNumbered(1, pod),
    });
    if (wanted.has(key)) found.set(key, readContainers(pod));
  }
  return found;
}

function readContainers(pod: Uint8Array): ContainerDevices[] {
  return fieldsNumbered(3, pod).flatMap((container) => {
    const containerName = textNumbered(1, container);
    return fieldsNumbered(2, container).map((devices) => ({
      containerName,
      resourceName: textNumbered(1, devices),
      deviceIds: fieldsNumbered(2, devices).map(readText),
    }));
  });
}

function fieldsNumbered(number: number, message: Uint8Array): Uint8Array[] {
  return [...readFields(message)].filter((field: Field) =>
    field.number === number
  ).map((field) => field.bytes);
}

/** A string that is not there is the empty one; of several the last counts: the format wants it so. */
function textNumbered(number: number, message: Uint8Array): string {
  const last = fieldsNumbered(number, message).at(-1);
  return last === undefined ? "" : readText(last);
}
