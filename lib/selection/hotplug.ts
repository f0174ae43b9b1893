/**
 * The delegate of a hot-plug request: one interface that is added to a running
 * pod, with the configuration that the controller sent.
 *
 * @module
 */

import type { NetConfList } from "../cni/conf.ts";
import { KEEP_DEFAULT_ROUTES } from "./default_route.ts";
import type { Delegate, PodIdentity } from "./delegate.ts";
import { assertDefinition } from "./definition_checks.ts";
import { withCniArgs } from "./delegate_conf.ts";
import type { InterfaceAttributes } from "./network_selection.ts";

/** What comes with the configuration. */
export interface HotplugOptions {
  /** The running pod. */
  readonly pod: Pick<PodIdentity, "namespace">;
  /** CNI_IFNAME. */
  readonly ifname: string;
  /** What the controller asks of the interface. */
  readonly attributes?: InterfaceAttributes;
}

/**
 * Makes the delegate; it leaves the pod's default routes alone.
 *
 * @throws {CniError} Code 7, if the configuration holds what a definition may not, or cannot take the `cni-args`.
 */
export function createHotplugDelegate(
  list: NetConfList,
  options: HotplugOptions,
): Delegate {
  const { pod, ifname, attributes = {} } = options;
  const place = "interfaceAttributes";
  assertDefinition(list, "The configuration");
  const selection = {
    place,
    namespace: pod.namespace,
    name: list.name,
    interface: ifname,
    ...attributes,
  };
  const { cniArgs } = attributes;
  return {
    list: cniArgs === undefined ? list : withCniArgs(list, cniArgs, place),
    displayName: list.name,
    ifname,
    isDefault: false,
    source: "hotplug",
    selection,
    defaultRoute: KEEP_DEFAULT_ROUTES,
  };
}
