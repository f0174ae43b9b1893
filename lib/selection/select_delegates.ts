/**
 * From a pod to its delegates: which networks it gets, in which order, under
 * which interface names, and how each is configured. All that can be wrong with
 * what a pod asks for is found here, before the first plugin runs. Where
 * definitions, files and devices come from is the caller's, so that the daemon
 * and a dry run go the same way.
 *
 * @module
 */

import type { NetConfList } from "../cni/conf.ts";
import { CniError, ErrorCode } from "../cni/error.ts";
import type { JsonText } from "../cni/json_text.ts";
import {
  DEFAULT_NETWORK_ANNOTATION,
  NETWORKS_ANNOTATION,
  parseDefaultNetwork,
  parseNetworks,
} from "./annotation.ts";
import { KEEP_DEFAULT_ROUTES, planDefaultRoutes } from "./default_route.ts";
import type { DefaultRouteRole } from "./default_route.ts";
import type { Delegate, DelegateSource, PodIdentity } from "./delegate.ts";
import { assertNotMultus } from "./definition_checks.ts";
import { withCniArgs, withDevice } from "./delegate_conf.ts";
import { allocateDevices } from "./device_allocation.ts";
import type { DeviceAllocation, DeviceIds } from "./device_allocation.ts";
import { assignInterfaceNames } from "./interface_names.ts";
import { assertNamespaceAllowed } from "./isolation.ts";
import type { IsolationPolicy } from "./isolation.ts";
import type { NetworkSelection } from "./network_selection.ts";
import { resolveDefinition } from "./resolve_network.ts";
import type { DefinitionSources, ResolvedNetwork } from "./resolve_network.ts";
import { limitWarnings, listWarnings } from "./selection_warnings.ts";
import type { Warning } from "./selection_warnings.ts";

/** A pod asks for a network that there is not; its owner is told by an event. */
export class NetworkNotFoundError extends CniError {
  /** The name of the class. */
  override readonly name = "NetworkNotFoundError";

  /** Says which. */
  constructor(message: string) {
    super(ErrorCode.invalidNetworkConfig, message);
  }
}

/** The pod, and what the runtime said of it. */
export interface SelectionRequest {
  /** The pod with all its annotations. */
  readonly pod: Pick<PodIdentity, "namespace"> & {
    readonly annotations: Readonly<Record<string, string>>;
  };
  /** CNI_IFNAME. */
  readonly ifname: string;
  /** The runtime's own `runtimeConfig`. */
  readonly runtimeConfig?: JsonText;
}

/** What the operator decided. The functions are called only when what they give is needed. */
export interface SelectionPolicy extends IsolationPolicy {
  /** Where definitions for default networks are. */
  readonly multusNamespace: string;
  /** Namespaces whose pods get no `defaultNetworks`. */
  readonly systemNamespaces: readonly string[];
  /** `clusterNetwork`, or the first of `delegates`. */
  defaultNetwork(): Promise<ResolvedNetwork>;
  /** `delegates` after the first; for every pod. */
  readonly furtherDelegates?: readonly NetConfList[];
  /** For every pod outside `systemNamespaces`. */
  defaultNetworks(): Promise<readonly ResolvedNetwork[]>;
  /** One more chain, if it holds a plugin. */
  auxiliaryChain?(): Promise<NetConfList | undefined>;
}

/** Where definitions, files and devices come from. */
export interface SelectionSources extends DefinitionSources {
  /** The pod's devices of a resource; without it no delegate gets one. */
  readonly deviceIds?: DeviceIds;
}

/** The delegates of a pod in the order of ADD, and what its owner should know. */
export interface SelectedDelegates {
  /** In the order of ADD. */
  readonly delegates: Delegate[];
  /** In the order of the delegates, and no more than a few. */
  readonly warnings: Warning[];
}

/** An attachment on its way to a delegate. */
interface Draft {
  readonly source: DelegateSource;
  readonly displayName: string;
  readonly selection?: NetworkSelection;
  /** Absent until the definition that the selection names is read. */
  readonly network?: ResolvedNetwork;
}

/** A draft whose configuration, interface and role are known. */
interface ResolvedDraft extends Draft {
  readonly network: ResolvedNetwork;
  readonly ifname: string;
  readonly defaultRoute: DefaultRouteRole;
}

/**
 * Selects the delegates of a pod.
 *
 * @throws {AnnotationError} If an annotation asks for something that cannot be, with its place.
 * @throws {CniError} If a network does not exist, is not valid or may not be used; what policy and sources throw.
 */
export async function selectDelegates(
  request: SelectionRequest,
  policy: SelectionPolicy,
  sources: SelectionSources,
): Promise<SelectedDelegates> {
  const drafts = await listDrafts(request, policy, sources);
  const names = assignInterfaceNames(drafts, request.ifname);
  const roles = planDefaultRoutes(drafts);
  const resolved: ResolvedDraft[] = [];
  for (const [index, draft] of drafts.entries()) {
    const ifname = names[index] ?? request.ifname;
    const network = draft.network ?? await loadSelected(draft, ifname, sources);
    const defaultRoute = roles[index] ?? KEEP_DEFAULT_ROUTES;
    resolved.push({ ...draft, network, ifname, defaultRoute });
  }
  const requests = resolved.map(({ network, selection }) => ({
    ...network,
    ...(selection && { selection }),
  }));
  const devices = await allocateDevices(requests, sources.deviceIds);
  const delegates = resolved.map((draft, index) =>
    createDelegate(draft, devices[index], request.runtimeConfig)
  );
  return {
    delegates,
    warnings: limitWarnings(
      delegates.flatMap((delegate, index) =>
        listWarnings(delegate, devices[index])
      ),
    ),
  };
}

async function listDrafts(
  { pod }: SelectionRequest,
  policy: SelectionPolicy,
  sources: SelectionSources,
): Promise<Draft[]> {
  const selections = parseNetworks(
    pod.annotations[NETWORKS_ANNOTATION] ?? "",
    pod.namespace,
  );
  for (const selection of selections) {
    assertNamespaceAllowed(selection, pod.namespace, policy);
  }
  const isSystem = policy.systemNamespaces.includes(pod.namespace);
  const further = (policy.furtherDelegates ?? []).map((list) => ({ list }));
  const everywhere = isSystem ? [] : await policy.defaultNetworks();
  const auxiliary = await policy.auxiliaryChain?.();
  return [
    await draftDefault(pod, policy, sources),
    ...[...further, ...everywhere].map(draftForEveryPod),
    ...selections.map(draftSelected),
    ...(auxiliary === undefined ? [] : [draftAuxiliary(auxiliary)]),
  ];
}

async function draftDefault(
  pod: SelectionRequest["pod"],
  policy: SelectionPolicy,
  sources: SelectionSources,
): Promise<Draft> {
  const annotation = pod.annotations[DEFAULT_NETWORK_ANNOTATION] ?? "";
  if (annotation.trim() === "") {
    const network = await policy.defaultNetwork();
    assertNotMultus(network.list, "The default network");
    return { source: "default", displayName: network.list.name, network };
  }
  const selection = parseDefaultNetwork(annotation, policy.multusNamespace);
  // Definitions for default networks live in multusNamespace, so that one is open to all here.
  const globalNamespaces = [...policy.globalNamespaces, policy.multusNamespace];
  assertNamespaceAllowed(selection, pod.namespace, {
    ...policy,
    globalNamespaces,
  });
  const network = await loadSelected(
    draftSelected(selection),
    "the default network",
    sources,
  );
  return {
    source: "default",
    displayName: network.list.name,
    selection,
    network,
  };
}

function draftForEveryPod(network: ResolvedNetwork): Draft {
  const { list, definition } = network;
  const displayName = definition === undefined
    ? list.name
    : `${definition.namespace}/${definition.name}`;
  assertNotMultus(list, `Default network "${displayName}"`);
  return { source: "defaultNetworks", displayName, network };
}

function draftSelected(selection: NetworkSelection): Draft {
  return {
    source: "annotation",
    displayName: `${selection.namespace}/${selection.name}`,
    selection,
  };
}

function draftAuxiliary(list: NetConfList): Draft {
  assertNotMultus(list, `Auxiliary chain "${list.name}"`);
  return { source: "auxiliary", displayName: list.name, network: { list } };
}

async function loadSelected(
  { selection }: Draft,
  ifname: string,
  sources: SelectionSources,
): Promise<ResolvedNetwork> {
  const { namespace = "", name = "", place = "" } = selection ?? {};
  const title = `"${namespace}/${name}"`;
  const definition = await sources.attachment(namespace, name);
  if (definition !== undefined) {
    const origin =
      `NetworkAttachmentDefinition ${title} asked for by ${place} as ${ifname}`;
    return await resolveDefinition(definition, sources, origin);
  }
  throw new NetworkNotFoundError(
    `Cannot find NetworkAttachmentDefinition ${title} asked for by ${place} as ${ifname}`,
  );
}

function createDelegate(
  draft: ResolvedDraft,
  device: DeviceAllocation | undefined,
  runtimeConfig: JsonText | undefined,
): Delegate {
  const { network, selection, source, displayName, ifname, defaultRoute } =
    draft;
  const deviceId = device?.deviceId;
  const isDefault = source === "default";
  return {
    list: configure(network.list, { deviceId, selection }),
    displayName,
    ...(network.definition && { definition: network.definition }),
    ifname,
    isDefault,
    source,
    ...(selection && { selection }),
    ...(network.resourceName === undefined
      ? {}
      : { resourceName: network.resourceName }),
    ...(deviceId === undefined ? {} : { deviceId }),
    ...(isDefault && runtimeConfig !== undefined ? { runtimeConfig } : {}),
    defaultRoute,
  };
}

function configure(
  list: NetConfList,
  { deviceId, selection }: {
    deviceId: string | undefined;
    selection: NetworkSelection | undefined;
  },
): NetConfList {
  const equipped = deviceId === undefined ? list : withDevice(list, deviceId);
  if (selection?.cniArgs === undefined) return equipped;
  return withCniArgs(equipped, selection.cniArgs, selection.place);
}
