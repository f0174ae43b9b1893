/**
 * Which devices a pod has, per resource, whoever gave them: the kubelet by device plugins, or the scheduler by resource
 * claims. Which network takes which of them is decided elsewhere.
 *
 * The order is the same each time it is asked for. The containers come in the order of the pod, and what one container
 * was given of one resource comes sorted by ID, since the kubelet gives that in a random order; IDs are never sorted
 * across containers, so that a network's device stays in the container it was meant for. Devices of claims come after.
 * At DEL nothing is asked here: the IDs used then are those that were recorded.
 */

import { CniError, ErrorCode } from "../cni/error.ts";
import { readCheckpoint } from "./checkpoint.ts";
import {
  createPodResourcesClient,
  type PodResourcesClient,
} from "./pod_resources.ts";
import {
  type ContainerDevices,
  podKey,
  type PodName,
} from "./pod_resources_messages.ts";
import {
  type ClaimedDevice,
  type ClaimingPod,
  type ClaimReader,
  hasClaims,
  listClaimedDevices,
} from "./resource_claims.ts";

/** What has to be known of a pod to tell its devices. */
export interface DevicePod extends PodName, ClaimingPod {
  /** The checkpoint knows pods by it alone. */
  readonly uid: string;
  /**
   * Containers in the kubelet's order: restartable init containers, then containers. Others come after these. Without
   * it, the kubelet's own order counts, or that of the names where the kubelet gives none.
   */
  readonly containerNames?: readonly string[];
}

/** Device IDs of a pod by resource, in the order in which networks take them. */
export type DeviceMap = ReadonlyMap<string, readonly string[]>;

/** Tells the devices of pods. */
export interface DeviceAllocator {
  /**
   * Tells the devices of a pod; asks the kubelet, and the API if the pod has claims.
   *
   * @throws {CniError} code 11 when somebody did not answer in time, or had no answer yet
   */
  devicesOf(
    pod: DevicePod,
    options: {
      signal: AbortSignal;
      /** In place of the allocator's own. */
      claims?: ClaimReader;
    },
  ): Promise<DeviceMap>;
}

/** Where devices are asked for. */
export interface DeviceSources {
  /** Asked first. */
  readonly podResourcesSocket: string;
  /** Read when there is no socket. */
  readonly checkpointFile: string;
  /** Without it, claims are not looked at. */
  readonly claims?: ClaimReader;
}

/**
 * Makes the one allocator of a process: it shares the kubelet's answers between those who ask at once.
 *
 * Needs read, write and net permission for the socket (`--allow-net=unix:<socket>`) and read permission for the file.
 */
export function createDeviceAllocator(sources: DeviceSources): DeviceAllocator {
  const kubelet = createPodResourcesClient(sources.podResourcesSocket);
  return {
    async devicesOf(
      pod,
      { signal, claims = sources.claims },
    ): Promise<DeviceMap> {
      const [given, claimed] = await Promise.all([
        listGivenDevices(pod, { sources, kubelet, claims, signal }),
        claims !== undefined && hasClaims(pod)
          ? listClaimedDevices(pod, claims, { signal })
          : [],
      ]);
      return orderDevices(given, {
        claimed,
        containerNames: pod.containerNames ?? [],
      });
    },
  };
}

/**
 * Puts devices in the order that is described above. A device that is told twice, for two NUMA nodes or because a
 * container took it over from an init container, is there once.
 */
export function orderDevices(
  given: readonly ContainerDevices[],
  { claimed = [], containerNames = [] }: {
    claimed?: readonly ClaimedDevice[];
    containerNames?: readonly string[];
  } = {},
): DeviceMap {
  const order = new Set([
    ...containerNames,
    ...given.map(({ containerName }) => containerName),
  ]);
  const map = new Map<string, string[]>();
  for (const name of order) {
    const devices = given.filter(({ containerName }) => containerName === name)
      .flatMap(({ resourceName, deviceIds }) =>
        deviceIds.map((deviceId) => ({ resourceName, deviceId }))
      );
    appendTo(
      map,
      devices.sort((a, b) =>
        a.deviceId < b.deviceId ? -1 : a.deviceId > b.deviceId ? 1 : 0
      ),
    );
  }
  appendTo(map, claimed);
  return map;
}

interface Asking {
  readonly sources: DeviceSources;
  readonly kubelet: PodResourcesClient;
  readonly claims: ClaimReader | undefined;
  readonly signal: AbortSignal;
}

async function listGivenDevices(
  pod: DevicePod,
  { sources, kubelet, claims, signal }: Asking,
): Promise<readonly ContainerDevices[]> {
  if (await exists(sources.podResourcesSocket)) {
    return await kubelet.devicesOf(pod, { signal });
  }
  try {
    return await readCheckpoint(sources.checkpointFile, pod.uid);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    // A node may give devices by claims alone, with nothing of the kubelet mounted here.
    if (claims !== undefined && hasClaims(pod)) return [];
    throw new CniError(
      ErrorCode.tryAgainLater,
      `Kubelet does not tell the devices of pod "${
        podKey(pod)
      }": neither its socket nor its checkpoint is there: ` +
        `"${sources.podResourcesSocket}", "${sources.checkpointFile}"`,
    );
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await Deno.stat(file);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function appendTo(
  map: Map<string, string[]>,
  devices: readonly ClaimedDevice[],
): void {
  for (const { resourceName, deviceId } of devices) {
    const ids = map.get(resourceName) ?? [];
    if (!ids.includes(deviceId)) ids.push(deviceId);
    map.set(resourceName, ids);
  }
}
