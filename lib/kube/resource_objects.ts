/**
 * Claims and slices of dynamic resource allocation (`resource.k8s.io/v1`), trimmed
 * to what says which device a pod got: a slice has up to 128 devices with dozens of
 * attributes each, and a network wants two of them. What a device means for a
 * network is not known here.
 *
 * @module
 */
import { present } from "../cni/present.ts";
import { asArray, asObject, asText } from "./json_value.ts";

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

/** A ResourceSlice. */
export interface ResourceSlice {
  /** What a driver offers. */
  readonly spec: {
    readonly driver: string;
    readonly pool: { readonly name: string; readonly generation: number };
    readonly devices?: readonly SliceDevice[];
  };
}

/** A device that a driver offers, with the attributes that are for CNI. */
export interface SliceDevice {
  /** The device's name in its pool. */
  readonly name: string;
  /** Only those of the CNI domain. */
  readonly attributes?: Readonly<Record<string, { readonly string?: string }>>;
}

const ATTRIBUTE_DOMAIN = "k8s.cni.cncf.io/";

/** Keeps what is used of a claim; one that is not allocated yet has no status. */
export function trimClaim(value: unknown): ResourceClaim {
  const { allocation } = asObject(asObject(value).status);
  if (allocation === undefined || allocation === null) return {};
  const { results } = asObject(asObject(allocation).devices);
  const devices = asArray(results).map((item): AllocatedDevice => {
    const result = asObject(item);
    const text = (key: string): string => asText(result[key]) ?? "";
    return {
      request: text("request"),
      driver: text("driver"),
      pool: text("pool"),
      device: text("device"),
    };
  });
  return { status: { allocation: { devices: { results: devices } } } };
}

/** Keeps what is used of a slice. */
export function trimSlice(value: unknown): ResourceSlice {
  const { driver, pool, devices } = asObject(asObject(value).spec);
  const { name, generation } = asObject(pool);
  return {
    spec: {
      driver: asText(driver) ?? "",
      pool: {
        name: asText(name) ?? "",
        generation: typeof generation === "number" ? generation : 0,
      },
      devices: asArray(devices).map(trimDevice),
    },
  };
}

function trimDevice(value: unknown): SliceDevice {
  const { name, attributes } = asObject(value);
  const kept = Object.entries(asObject(attributes))
    .filter(([key]) => key.startsWith(ATTRIBUTE_DOMAIN))
    .map(([key, attribute]): [string, { readonly string?: string }] => [
      key,
      present({ string: asText(asObject(attribute).string) }),
    ]);
  return {
    name: asText(name) ?? "",
    ...(kept.length === 0 ? {} : { attributes: Object.fromEntries(kept) }),
  };
}
