/**
 * Devices that a pod got by dynamic resource allocation (`resource.k8s.io/v1`): from the pod's status to its
 * ResourceClaims, from the devices allocated there to the ResourceSlices of the node, and from the attributes of a
 * device to what a network needs of it. Claims are read, never made or changed, and the API is asked through functions
 * given by the caller.
 *
 * A device is for CNI when its driver publishes the attributes `k8s.cni.cncf.io/deviceID` and
 * `k8s.cni.cncf.io/resourceName`; a claim may well hold others, such as GPUs. Where the scheduler made the claim for an
 * extended resource, the pod's status says which request stands for which resource, and there the attribute must agree.
 */

import type {
  AllocatedDevice,
  ExtendedResourceClaimStatus,
  PodClaims,
  ResourceClaim,
  ResourceSlice,
  SliceDevice,
} from "../claim_objects.ts";
import { CniError, ErrorCode } from "../cni/error.ts";

/** What is read of a pod, as `lib/kube` gives it. */
export interface ClaimingPod extends PodClaims {
  /** The pod's namespace, and that of its claims. */
  readonly namespace: string;
  /** The pod's own name. */
  readonly name: string;
}

/** How claims and slices are read. */
export interface ClaimReader {
  /** The node whose slices are looked at. */
  readonly nodeName: string;
  /** Reads one claim. */
  getResourceClaim(
    namespace: string,
    name: string,
    options: { signal: AbortSignal },
  ): Promise<ResourceClaim>;
  /** With the field selectors `spec.driver` and `spec.nodeName`. */
  listResourceSlices(
    filter: { driver: string; nodeName: string },
    options: { signal: AbortSignal },
  ): Promise<readonly ResourceSlice[]>;
}

/** A device that is for CNI. */
export interface ClaimedDevice {
  /** The resource that a network asks for. */
  readonly resourceName: string;
  /** What the network's plugin is given. */
  readonly deviceId: string;
}

/** Attribute of a device: what the network's plugin is given as device ID. */
export const DEVICE_ID_ATTRIBUTE = "k8s.cni.cncf.io/deviceID";
/** Attribute of a device: what the annotation of a NetworkAttachmentDefinition asks for. */
export const RESOURCE_NAME_ATTRIBUTE = "k8s.cni.cncf.io/resourceName";

/** Tells whether a pod has any claim, so that the API need not be asked for nothing. */
export function hasClaims(pod: ClaimingPod): boolean {
  return claimNames(pod).length > 0 ||
    pod.extendedResourceClaimStatus !== undefined;
}

/**
 * Lists the devices for CNI of a pod's claims: claims in the order of the pod, devices in the order of the allocation,
 * then those of the extended resources in the order of their mappings. Stored once, that order does not change.
 *
 * @throws {CniError} code 11 when a claim is not allocated yet or a device is not published (any more), code 7 when a
 *   device contradicts the mapping of an extended resource
 * @throws {TypeError} when an attribute is not a string
 */
export async function listClaimedDevices(
  pod: ClaimingPod,
  reader: ClaimReader,
  { signal }: { signal: AbortSignal },
): Promise<ClaimedDevice[]> {
  const extended = pod.extendedResourceClaimStatus;
  const allocated = (await Promise.all(
    claimNames(pod).map((name) => readClaim(pod, name, { reader, signal })),
  )).flat();
  const mapped = extended === undefined ? [] : mapRequests(
    extended,
    await readClaim(pod, extended.resourceClaimName, { reader, signal }),
  );
  const drivers = new Set(
    [...allocated, ...mapped.map(({ result }) => result)].map((result) =>
      result.driver
    ),
  );
  const slices = await listSlices(drivers, { reader, signal });
  return [
    ...allocated.map((result) => describeDevice(result, slices)).filter(
      isForCni,
    ),
    ...mapped.map(({ result, resourceName }) =>
      describeMapped(result, { slices, resourceName })
    ),
  ].filter((device) => device !== undefined);
}

/** Names of the pod's claims, each once, in the order of the pod's specification where that is known. */
function claimNames(pod: ClaimingPod): string[] {
  const statuses = new Map(
    pod.resourceClaimStatuses?.map((
      status,
    ) => [status.name, status.resourceClaimName]),
  );
  const fromSpec =
    pod.resourceClaims?.map((claim) =>
      claim.resourceClaimName ?? statuses.get(claim.name)
    ) ?? [];
  // A status without a claim's name says that none was needed.
  return [...new Set([...fromSpec, ...statuses.values()])].filter((name) =>
    name !== undefined
  );
}

interface Access {
  readonly reader: ClaimReader;
  readonly signal: AbortSignal;
}

async function readClaim(
  pod: ClaimingPod,
  name: string,
  { reader, signal }: Access,
): Promise<AllocatedDevice[]> {
  const claim = await reader.getResourceClaim(pod.namespace, name, { signal });
  const allocation = claim.status?.allocation;
  if (allocation === undefined) {
    throw new CniError(
      ErrorCode.tryAgainLater,
      `Resource claim is not allocated yet: "${pod.namespace}/${name}"`,
    );
  }
  return [...allocation.devices?.results ?? []];
}

interface MappedResult {
  readonly result: AllocatedDevice;
  readonly resourceName: string;
}

/** Results whose request is not mapped stand for nothing that the pod asked for by a resource's name. */
function mapRequests(
  extended: ExtendedResourceClaimStatus,
  results: readonly AllocatedDevice[],
): MappedResult[] {
  return (extended.requestMappings ?? []).flatMap((
    { requestName, resourceName },
  ) =>
    results.filter((result) => result.request === requestName).map((
      result,
    ) => ({ result, resourceName }))
  );
}

type Pools = ReadonlyMap<string, ReadonlyMap<string, SliceDevice>>;

/** Lists each driver's slices once, and puts their devices in order: by pool, then by name. */
async function listSlices(
  drivers: ReadonlySet<string>,
  { reader, signal }: Access,
): Promise<Pools> {
  const { nodeName } = reader;
  const lists = await Promise.all(
    [...drivers].map(async (driver) => {
      const slices = await reader.listResourceSlices({ driver, nodeName }, {
        signal,
      });
      return slices.filter((slice) => slice.spec.driver === driver);
    }),
  );
  const pools = new Map<
    string,
    { generation: number; devices: Map<string, SliceDevice> }
  >();
  for (const { spec } of lists.flat()) {
    const key = poolKey(spec.driver, spec.pool.name);
    const pool = pools.get(key);
    // While a driver renews its pool, slices of the generation before are still there, and do not count.
    if (pool !== undefined && pool.generation > spec.pool.generation) continue;
    const devices = pool?.generation === spec.pool.generation
      ? pool.devices
      : new Map<string, SliceDevice>();
    for (const device of spec.devices ?? []) devices.set(device.name, device);
    pools.set(key, { generation: spec.pool.generation, devices });
  }
  return new Map([...pools].map(([key, { devices }]) => [key, devices]));
}

function poolKey(driver: string, pool: string): string {
  return JSON.stringify([driver, pool]);
}

interface DeviceDescription {
  readonly resourceName?: string;
  readonly deviceId?: string;
}

function isForCni(device: DeviceDescription): device is ClaimedDevice {
  return device.deviceId !== undefined && device.resourceName !== undefined;
}

function describeDevice(
  result: AllocatedDevice,
  pools: Pools,
): DeviceDescription {
  const pool = pools.get(poolKey(result.driver, result.pool));
  // Pools that do not belong to this node hold what can be reached from many nodes: nothing to be moved into a pod.
  if (pool === undefined) return {};
  const device = pool.get(result.device);
  if (device === undefined) {
    throw new CniError(
      ErrorCode.tryAgainLater,
      `Device is in no resource slice of this node: ${nameOf(result)}`,
    );
  }
  const deviceId = readAttribute(device, { name: DEVICE_ID_ATTRIBUTE, result });
  const resourceName = readAttribute(device, {
    name: RESOURCE_NAME_ATTRIBUTE,
    result,
  });
  return {
    ...(deviceId && { deviceId }),
    ...(resourceName && { resourceName }),
  };
}

/** A device of an extended resource: for CNI when it has a device ID, and then it must say the resource's name too. */
function describeMapped(
  result: AllocatedDevice,
  { slices, resourceName }: { slices: Pools; resourceName: string },
): ClaimedDevice | undefined {
  const device = describeDevice(result, slices);
  if (device.deviceId === undefined) return undefined;
  if (isForCni(device) && device.resourceName === resourceName) return device;
  const present = device.resourceName === undefined
    ? "none"
    : `"${device.resourceName}"`;
  throw new CniError(
    ErrorCode.invalidNetworkConfig,
    `Device ${
      nameOf(result)
    } was allocated as "${resourceName}" but has another ${RESOURCE_NAME_ATTRIBUTE}: ${present}`,
  );
}

function readAttribute(
  device: SliceDevice,
  { name, result }: { name: string; result: AllocatedDevice },
): string | undefined {
  const attribute = device.attributes?.[name];
  if (attribute === undefined) return undefined;
  if (typeof attribute.string !== "string") {
    throw new TypeError(
      `Attribute ${name} of device ${nameOf(result)} is not a string: ${
        JSON.stringify(attribute)
      }`,
    );
  }
  return attribute.string === "" ? undefined : attribute.string;
}

function nameOf(result: AllocatedDevice): string {
  return `"${result.driver}/${result.pool}/${result.device}"`;
}
