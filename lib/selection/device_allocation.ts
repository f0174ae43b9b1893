/**
 * Which of the pod's devices each attachment gets: of a resource, the kubelet's
 * devices in their order, to the attachments in theirs, so that the same pod
 * always comes out the same. A selection may choose among the pod's own devices
 * by name; that one is then not given to another. A device of somebody else is
 * refused: who may have which one is the kubelet's to say.
 *
 * @module
 */

import { quote } from "../cni/error.ts";
import { AnnotationError } from "./annotation_error.ts";
import type { NetworkSelection } from "./network_selection.ts";

/** An attachment that may need a device. */
export interface DeviceRequest {
  /** The resource that its definition names. */
  readonly resourceName?: string;
  /** What the pod asked for. */
  readonly selection?: Pick<NetworkSelection, "deviceId" | "place">;
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

/**
 * The device of each attachment, in their order; none for one without resource. Without a source, none for anybody. The source is asked
 * once for each resource.
 *
 * @throws {AnnotationError} If a selection names a device that is not one of the pod's.
 */
export async function allocateDevices(
  requests: readonly DeviceRequest[],
  deviceIds: DeviceIds | undefined,
): Promise<DeviceAllocation[]> {
  const named = new Set(requests.map(({ selection }) => selection?.deviceId));
  const pools = new Map<string, Pool>();
  const allocations: DeviceAllocation[] = [];
  for (const { resourceName, selection } of requests) {
    if (resourceName === undefined || deviceIds === undefined) {
      allocations.push({ isShort: false });
      continue;
    }
    const pool = pools.get(resourceName) ??
      openPool(await deviceIds(resourceName), named);
    pools.set(resourceName, pool);
    allocations.push(
      selection?.deviceId === undefined
        ? takeNext(pool)
        : takeNamed(pool, resourceName, selection),
    );
  }
  return allocations;
}

/** The pod's devices of one resource, and those of them that are not given away or asked for by name. */
interface Pool {
  readonly ids: readonly string[];
  readonly left: string[];
}

function openPool(
  ids: readonly string[],
  named: ReadonlySet<string | undefined>,
): Pool {
  return { ids, left: ids.filter((id) => !named.has(id)) };
}

function takeNext({ ids, left }: Pool): DeviceAllocation {
  const deviceId = left.shift();
  return deviceId === undefined
    ? { isShort: ids.length > 0 }
    : { deviceId, isShort: false };
}

function takeNamed(
  { ids }: Pool,
  resourceName: string,
  { deviceId = "", place }: NonNullable<DeviceRequest["selection"]>,
): DeviceAllocation {
  if (ids.includes(deviceId)) return { deviceId, isShort: false };
  throw new AnnotationError(
    `${place}.deviceID`,
    `the pod was given no such device of ${quote(resourceName)}: ${
      quote(deviceId)
    }`,
  );
}
