/**
 * Which of the pod's devices each attachment gets: of a resource, the kubelet's
 * devices in their order, to the attachments in theirs, so that the same pod
 * always comes out the same. A device that a selection names is its own and
 * not given to another.
 *
 * @module
 */

import type { NetworkSelection } from "./network_selection.ts";

/** An attachment that may need a device. */
export interface DeviceRequest {
  /** The resource that its definition names. */
  readonly resourceName?: string;
  /** What the pod asked for. */
  readonly selection?: Pick<NetworkSelection, "deviceId">;
}

/** The device of an attachment, if it has one. */
export interface DeviceAllocation {
  /** Absent if it has none. */
  readonly deviceId?: string;
  /** Whether the pod has devices of the resource, but none was left. */
  readonly isShort: boolean;
}

/** The IDs of the pod's devices of one resource, always in the same order. */
export type DeviceIds = (resourceName: string) => Promise<readonly string[]>;

/** The device of each attachment, in their order. The source is asked once for each resource. */
export async function allocateDevices(
  requests: readonly DeviceRequest[],
  deviceIds: DeviceIds | undefined,
): Promise<DeviceAllocation[]> {
  const named = new Set(requests.map(({ selection }) => selection?.deviceId));
  const pools = new Map<string, { had: boolean; left: string[] }>();
  const allocations: DeviceAllocation[] = [];
  for (const { resourceName, selection } of requests) {
    if (selection?.deviceId !== undefined || resourceName === undefined) {
      allocations.push({
        ...(selection?.deviceId === undefined
          ? {}
          : { deviceId: selection.deviceId }),
        isShort: false,
      });
      continue;
    }
    const pool = pools.get(resourceName) ??
      await openPool(resourceName, { deviceIds, named });
    pools.set(resourceName, pool);
    const deviceId = pool.left.shift();
    allocations.push(
      deviceId === undefined
        ? { isShort: pool.had }
        : { deviceId, isShort: false },
    );
  }
  return allocations;
}

async function openPool(
  resourceName: string,
  { deviceIds, named }: {
    deviceIds: DeviceIds | undefined;
    named: ReadonlySet<string | undefined>;
  },
): Promise<{ had: boolean; left: string[] }> {
  const ids = await deviceIds?.(resourceName) ?? [];
  return { had: ids.length > 0, left: ids.filter((id) => !named.has(id)) };
}
