/**
 * The objects of dynamic resource allocation (`resource.k8s.io/v1`), as much of
 * them as is read: what a pod says of its claims, the claims, and the slices
 * that list a node's devices. Types alone: `kube` brings them from the API,
 * `devices` finds a pod's devices in them, and neither knows the other.
 */

/** What a pod says of its claims. */
export interface PodClaims {
  /** `spec.resourceClaims`: a claim that is named here and not made from a template may be missing in the status. */
  readonly resourceClaims?: readonly ResourceClaimReference[];
  /** `status.resourceClaimStatuses` */
  readonly resourceClaimStatuses?: readonly ResourceClaimReference[];
  /** `status.extendedResourceClaimStatus` */
  readonly extendedResourceClaimStatus?: ExtendedResourceClaimStatus;
}

/** The pod's name of a claim, and the claim's own. */
export interface ResourceClaimReference {
  /** What the pod calls the claim. */
  readonly name: string;
  /** What the claim is called; it may come from a template, or not be needed. */
  readonly resourceClaimName?: string;
}

/** Which request of the claim that the scheduler made stands for which extended resource. */
export interface ExtendedResourceClaimStatus {
  /** The claim that the scheduler made. */
  readonly resourceClaimName: string;
  /** One for each container and resource. */
  readonly requestMappings?: readonly RequestMapping[];
}

/** One request of a claim made for an extended resource. */
export interface RequestMapping {
  /** The container that asked. */
  readonly containerName?: string;
  /** The request of the claim. */
  readonly requestName: string;
  /** The resource it stands for. */
  readonly resourceName: string;
}

/** A ResourceClaim. */
export interface ResourceClaim {
  /** Without an allocation until the pod is scheduled. */
  readonly status?: {
    readonly allocation?: {
      readonly devices?: { readonly results?: readonly AllocatedDevice[] };
    };
  };
}

/** A device of a claim's allocation. */
export interface AllocatedDevice {
  /** The request of the claim that this device satisfies. */
  readonly request: string;
  /** The driver that offers the device. */
  readonly driver: string;
  /** The driver's pool that holds the device. */
  readonly pool: string;
  /** The device's name in its pool. */
  readonly device: string;
}

/** A ResourceSlice: what a driver offers. */
export interface ResourceSlice {
  /** A pool may be spread over several slices, which then have one generation. */
  readonly spec: {
    readonly driver: string;
    readonly pool: { readonly name: string; readonly generation: number };
    readonly devices?: readonly SliceDevice[];
  };
}

/** A device that a driver offers. */
export interface SliceDevice {
  /** The device's name in its pool. */
  readonly name: string;
  /** What the driver tells of the device, by qualified name, one member each, named by type; of a slice from the API, only those of the CNI domain. */
  readonly attributes?: Readonly<Record<string, { readonly string?: string }>>;
}
