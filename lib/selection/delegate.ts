/**
 * What an attachment is before it is run: the configuration as the plugins
 * will get it, the interface, and what is asked of it. A delegate is made once,
 * at ADD, and recorded; nothing here asks the cluster or runs anything.
 *
 * @module
 */

import type { JsonText } from "../cni/json_text.ts";
import type { NetConfList } from "../cni/conf.ts";
import type { DefaultRouteRole } from "./default_route.ts";
import type { NetworkSelection } from "./network_selection.ts";

export { buildCapabilityArgs } from "./capability_args.ts";
export { buildCniArgs } from "./cni_args.ts";

/** A NetworkAttachmentDefinition, trimmed to what is used. */
export interface AttachmentDefinition {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name. */
  readonly name: string;
  /** `spec.config`; without it the configuration lies in a CNI file. */
  readonly config?: string;
  /** The annotation `k8s.v1.cni.cncf.io/resourceName`. */
  readonly resourceName?: string;
}

/** Which NetworkAttachmentDefinition a delegate came from. */
export type DefinitionName = Pick<AttachmentDefinition, "namespace" | "name">;

/** Why a delegate is there. */
export type DelegateSource =
  | "default"
  | "defaultNetworks"
  | "annotation"
  | "auxiliary"
  | "hotplug";

/** One attachment of one pod, ready to be run. */
export interface Delegate {
  /** The configuration with device and `cni-args` put in. */
  readonly list: NetConfList;
  /** `<namespace>/<name>` of the definition; the configuration's name for the default network and for CNI files. */
  readonly displayName: string;
  /** Where the configuration came from, unless from a file. */
  readonly definition?: DefinitionName;
  /** The interface in the pod. */
  readonly ifname: string;
  /** Whether this is the pod's default network. */
  readonly isDefault: boolean;
  /** Why it is there. */
  readonly source: DelegateSource;
  /** What the pod asked for, if it asked. */
  readonly selection?: NetworkSelection;
  /** The resource that the device is of. */
  readonly resourceName?: string;
  /** The device that was put into the configuration. */
  readonly deviceId?: string;
  /** Path of the device information file, once somebody has put it there. */
  readonly deviceInfoFile?: string;
  /** The runtime's own `runtimeConfig`, on the default network only. */
  readonly runtimeConfig?: JsonText;
  /** Its part in the default routes of the pod. */
  readonly defaultRoute: DefaultRouteRole;
}

/** The pod that an operation is about. */
export interface PodIdentity {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name. */
  readonly name: string;
  /** Its UID. */
  readonly uid: string;
  /** CNI_CONTAINERID: the sandbox. */
  readonly containerId: string;
}
