/**
 * Claims and slices of dynamic resource allocation (`resource.k8s.io/v1`), trimmed
 * to what says which device a pod got: a slice has up to 128 devices with dozens of
 * attributes each, and a network wants two of them. What a device means for a
 * network is not known here.
 *
 * @module
 */
import type {
  AllocatedDevice,
  ResourceClaim,
  ResourceSlice,
  SliceDevice,
} from "../claim_objects.ts";
import { present } from "../cni/present.ts";
import { asArray, asObject, asText } from "./json_value.ts";

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
