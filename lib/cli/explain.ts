/**
 * What an ADD of a pod would do, by the same rules and from the same sources
 * as the daemon's own, stopping before anything is written or run.
 *
 * Left alone: the devices of a pod, which the kubelet gives when it starts.
 */
import { formatCniArgs } from "../cni/args.ts";
import { CniError } from "../cni/error.ts";
import { attachmentInput } from "../cni/list.ts";
import { createNetworkSources, createPolicy } from "../daemon/networks.ts";
import type { Cluster } from "../kube/cluster.ts";
import { AttachmentNotFoundError } from "../kube/error.ts";
import type { NetworkAttachment, Pod } from "../kube/objects.ts";
import {
  buildCapabilityArgs,
  buildCniArgs,
  type Delegate,
} from "../selection/delegate.ts";
import type { FamilyRole } from "../selection/default_route.ts";
import type { NetworkSources } from "../selection/resolve_network.ts";
import { selectDelegates } from "../selection/select_delegates.ts";
import type {
  ExplainedDelegate,
  ExplainedPlugin,
  ExplainReport,
  ExplainWarning,
} from "./explain_schema.ts";
import type { RuntimeConf } from "./node_view.ts";
import type { PluginFinder } from "./plugin_finder.ts";

/** What a pod is explained with. */
export interface ExplainParts {
  /** The configuration that holds. */
  readonly runtimeConf: RuntimeConf;
  /** The daemon's configuration file. */
  readonly daemonConfig: string;
  /** Where definitions are; absent on a node without an API server. */
  readonly cluster: Cluster | undefined;
  /** Definitions that come before those of the cluster. */
  readonly given: readonly NetworkAttachment[];
  /** Finds plugins. */
  readonly plugins: PluginFinder;
  /** Ends the wait for the API server. */
  readonly signal: AbortSignal;
}

/** What container runtimes call a pod's first interface. */
const IFNAME = "eth0";

/** Stands where the runtime would put the sandbox's ID. */
const CONTAINER_ID = "explain";

/**
 * Explains a pod; a pod that ADD would refuse is explained by the error.
 *
 * @throws {ApiUnavailableError} when the API server cannot be asked.
 */
export async function explainPod(
  pod: Pod,
  parts: ExplainParts,
): Promise<ExplainReport> {
  const { runtimeConf, daemonConfig } = parts;
  const common = {
    pod: `${pod.namespace}/${pod.name}`,
    configuration: {
      daemon: daemonConfig,
      ...(runtimeConf.path === undefined ? {} : { runtime: runtimeConf.path }),
    },
  };
  try {
    return { ...common, ...await select(pod, parts) };
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return { ...common, delegates: [], warnings: [], error: error.message };
  }
}

async function select(
  pod: Pod,
  parts: ExplainParts,
): Promise<Pick<ExplainReport, "delegates" | "warnings">> {
  const { conf } = parts.runtimeConf;
  const sources = sourcesOf(parts);
  const { namespace, annotations } = pod;
  const { delegates, warnings } = await selectDelegates(
    { pod: { namespace, annotations }, ifname: IFNAME },
    createPolicy(conf, sources),
    sources,
  );
  const explained: ExplainedDelegate[] = [];
  for (const [order, delegate] of delegates.entries()) {
    explained.push(await explainDelegate(delegate, { order, pod, parts }));
  }
  return {
    delegates: explained,
    warnings: [
      ...warnings.map(({ ifname, ...rest }) => ({
        ...rest,
        interface: ifname,
      })),
      ...delegates.flatMap(warnOfDevice),
      ...explained.flatMap(warnOfPlugins),
    ],
  };
}

function sourcesOf(
  { runtimeConf: { conf }, cluster, given, signal }: ExplainParts,
): NetworkSources {
  return {
    ...createNetworkSources(conf, { link: undefined, signal }),
    attachment: async (namespace, name) => {
      const own = given.find((one) =>
        one.namespace === namespace && one.name === name
      );
      if (own !== undefined || cluster === undefined) return own;
      try {
        return await cluster.getAttachment(namespace, name, { signal });
      } catch (error) {
        if (error instanceof AttachmentNotFoundError) return undefined;
        throw error;
      }
    },
  };
}

async function explainDelegate(
  delegate: Delegate,
  { order, pod, parts }: { order: number; pod: Pod; parts: ExplainParts },
): Promise<ExplainedDelegate> {
  const { list, displayName, ifname, source, resourceName } = delegate;
  const identity = { ...pod, containerId: CONTAINER_ID };
  const attachment = { capabilityArgs: buildCapabilityArgs(delegate) };
  const plugins: ExplainedPlugin[] = [];
  for (const plugin of list.plugins) {
    const input = attachmentInput({ list, attachment }, {
      plugin,
      prevResult: undefined,
    });
    const found = await look(parts.plugins, plugin.type);
    plugins.push({ type: plugin.type, ...found, input });
  }
  return {
    order,
    network: displayName,
    interface: ifname,
    source,
    from: describeOrigin(delegate, parts),
    ...(resourceName === undefined ? {} : { resourceName }),
    cniArgs: formatCniArgs(buildCniArgs(identity, delegate, [])),
    defaultRoute: {
      ipv4: describeRole(delegate.defaultRoute.v4),
      ipv6: describeRole(delegate.defaultRoute.v6),
    },
    plugins,
  };
}

async function look(
  plugins: PluginFinder,
  type: string,
): Promise<{ path?: string; problem?: string }> {
  try {
    const path = await plugins.find(type);
    return path === undefined ? {} : { path };
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return { problem: error.message };
  }
}

function describeOrigin(
  { source, selection, definition, list }: Delegate,
  { runtimeConf: { conf } }: ExplainParts,
): string {
  const what = definition === undefined
    ? `CNI configuration "${list.name}"`
    : `NetworkAttachmentDefinition ${definition.namespace}/${definition.name}`;
  return `${describePlace()}: ${what}`;

  function describePlace(): string {
    if (selection !== undefined) return `annotation ${selection.place}`;
    if (source === "auxiliary") return "auxiliaryCNIChainName";
    if (source === "defaultNetworks") return "defaultNetworks";
    return conf.clusterNetwork === undefined
      ? "delegates[0]"
      : `clusterNetwork ${conf.clusterNetwork}`;
  }
}

function describeRole(role: FamilyRole): string {
  switch (role.kind) {
    case "own":
      return `through ${role.gateways.join(", ")}`;
    case "lose":
      return "taken away";
    case "claim":
      return "kept, the others lose theirs";
    case "yield":
      return "taken away if the network that asks for it has one";
    case "keep":
      return "as its plugins set it";
  }
}

function warnOfDevice(delegate: Delegate): ExplainWarning[] {
  const { resourceName, displayName: network, ifname } = delegate;
  if (resourceName === undefined) return [];
  return [{
    reason: "DeviceUnknown",
    network,
    interface: ifname,
    message:
      `deviceID and pciBusID will be put in when the kubelet has given a device of "${resourceName}"`,
  }];
}

function warnOfPlugins(delegate: ExplainedDelegate): ExplainWarning[] {
  const { network, plugins } = delegate;
  return plugins.flatMap(({ problem }) =>
    problem === undefined ? [] : [{
      reason: "PluginMissing",
      network,
      interface: delegate.interface,
      message: problem,
    }]
  );
}
