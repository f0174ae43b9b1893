/**
 * Capability arguments: what a selection asks of its plugins by the standard
 * names, and which of these requests no plugin of the chain will hear.
 * Who gets which argument is decided when the list is run, by the plugins'
 * `capabilities`.
 *
 * CNI conventions, "Dynamic Plugin specific fields (Capabilities / Runtime Configuration)".
 *
 * @module
 */

import type { JsonText } from "../cni/json_text.ts";
import { readMembers } from "../cni/json_text.ts";
import type { Delegate } from "./delegate.ts";
import type { NetworkSelection } from "./network_selection.ts";

/** One request of a selection: its key in the annotation, the capability that carries it, its value. */
export interface CapabilityRequest {
  /** The key in the annotation. */
  readonly key: string;
  /** The name that plugins declare. */
  readonly capability: string;
  /** What is asked. */
  readonly value: JsonText;
}

/** The requests of a selection that travel as capability arguments, in a fixed order. */
export function listRequests(selection: NetworkSelection): CapabilityRequest[] {
  const { portMappings, bandwidth, ips, mac, infinibandGuid } = selection;
  const candidates: [
    key: string,
    capability: string,
    value: JsonText | undefined,
  ][] = [
    ["portMappings", "portMappings", portMappings],
    ["bandwidth", "bandwidth", bandwidth],
    ["ips", "ips", ips === undefined ? undefined : JSON.stringify(ips)],
    ["mac", "mac", quoted(mac)],
    ["infiniband-guid", "infinibandGUID", quoted(infinibandGuid)],
  ];
  return candidates.flatMap(([key, capability, value]) =>
    value === undefined ? [] : [{ key, capability, value }]
  );
}

/**
 * The capability arguments of one delegate, values as JSON text. The default
 * network gets the runtime's own, unless the pod chose it with requests of its own.
 *
 * @throws {SyntaxError} If the runtime's `runtimeConfig` is not an object.
 */
export function buildCapabilityArgs(
  delegate: Delegate,
): Record<string, JsonText> {
  const requests = delegate.selection === undefined
    ? []
    : listRequests(delegate.selection);
  const args: Map<string, JsonText> = usesRuntimeConfig(delegate, requests)
    ? readRuntimeConfig(delegate.runtimeConfig)
    : new Map(requests.map(({ capability, value }) => [capability, value]));
  const deviceId = delegate.deviceId ?? unallocatedDevice(delegate);
  if (deviceId !== undefined) {
    args.set("deviceID", JSON.stringify(deviceId));
  }
  if (delegate.deviceInfoFile !== undefined) {
    args.set("CNIDeviceInfoFile", JSON.stringify(delegate.deviceInfoFile));
  }
  return Object.fromEntries(args);
}

/** The requests that no plugin of the chain declares a capability for. */
export function listUnheardRequests(
  delegate: Pick<Delegate, "list" | "selection" | "resourceName">,
): CapabilityRequest[] {
  const { list, selection } = delegate;
  const requests = selection === undefined ? [] : listRequests(selection);
  const device = unallocatedDevice(delegate);
  if (device !== undefined) {
    const value = JSON.stringify(device);
    requests.push({ key: "deviceID", capability: "deviceID", value });
  }
  return requests.filter(({ capability }) =>
    !list.plugins.some(({ capabilities }) => capabilities.has(capability))
  );
}

/**
 * The device that a selection names where the kubelet gives none. Nobody says whose it is, so that only
 * a network whose author declares the capability hears of it, and its configuration is left alone.
 */
function unallocatedDevice(
  { selection, resourceName }: Pick<Delegate, "selection" | "resourceName">,
): string | undefined {
  return resourceName === undefined ? selection?.deviceId : undefined;
}

function usesRuntimeConfig(
  delegate: Delegate,
  requests: readonly CapabilityRequest[],
): boolean {
  return delegate.isDefault && requests.length === 0;
}

function readRuntimeConfig(
  runtimeConfig: JsonText | undefined,
): Map<string, JsonText> {
  if (runtimeConfig === undefined || runtimeConfig.trim() === "null") {
    return new Map();
  }
  return new Map(
    readMembers(runtimeConfig).map((
      { key, start, end },
    ) => [key, runtimeConfig.slice(start, end)]),
  );
}

function quoted(value: string | undefined): JsonText | undefined {
  return value === undefined ? undefined : JSON.stringify(value);
}
