/**
 * Where the networks of a pod come from, for one request: ties the rules of
 * `lib/selection` to the configuration, the cluster, the CNI files and the
 * node's devices. It decides nothing itself.
 *
 * Needs read of `confDir` and of the default network's configuration.
 */
import { type NetConfList, parseConf } from "../cni/conf.ts";
import { CniError } from "../cni/error.ts";
import type { JsonText } from "../cni/json_text.ts";
import type { DeviceAllocator, DeviceMap } from "../devices/allocation.ts";
import type { ClaimReader } from "../devices/resource_claims.ts";
import type { Cluster } from "../kube/cluster.ts";
import { AttachmentNotFoundError } from "../kube/error.ts";
import type { Pod } from "../kube/objects.ts";
import {
  auxiliaryParentDir,
  loadAuxiliaryChain,
} from "../selection/auxiliary_chain.ts";
import { createConfSources } from "../selection/conf_sources.ts";
import {
  type NetworkSources,
  type ResolvedNetwork,
  resolveNetwork,
} from "../selection/resolve_network.ts";
import type {
  SelectionPolicy,
  SelectionSources,
} from "../selection/select_delegates.ts";
import { whileAsking } from "./asking.ts";
import type { ClusterLink } from "./cluster_link.ts";
import { assertDefaultNetwork, type MultusConf } from "./configuration.ts";

/** What networks are looked up with, besides the configuration. */
export interface NetworkParts {
  /** Absent on a node without API server: then only `delegates` and files are there. */
  readonly link: ClusterLink | undefined;
  /** Which devices the pod has. */
  readonly devices: DeviceAllocator;
  /** This node, for pods that do not say where they are. */
  readonly nodeName: string;
  /** Aborted when the request is over. */
  readonly signal: AbortSignal;
}

/** Definitions and CNI files for the networks of one request. */
export function createNetworkSources(
  conf: Pick<MultusConf, "confDir">,
  { link, signal }: Pick<NetworkParts, "link" | "signal">,
): NetworkSources {
  return {
    ...createConfSources(conf.confDir),
    attachment: async (namespace, name) => {
      try {
        if (link === undefined) return undefined;
        const found = link.cluster.getAttachment(namespace, name, { signal });
        return await whileAsking(found, {
          subject: `network ${namespace}/${name}`,
          signal,
          problem: () => link.cluster.api.problem,
        });
      } catch (error) {
        if (error instanceof AttachmentNotFoundError) return undefined;
        throw error;
      }
    },
  };
}

/** What the operator decided, as the configuration says it. */
export function createPolicy(
  conf: MultusConf,
  sources: NetworkSources,
): SelectionPolicy {
  const { multusNamespace } = conf;
  const resolve = (
    reference: string,
    place: string,
  ): Promise<ResolvedNetwork> =>
    resolveNetwork(reference, { multusNamespace, sources, place });
  const delegates = conf.clusterNetwork === undefined ? conf.delegates : [];
  const [first, ...further] = delegates;
  const defaultNetwork = async (): Promise<ResolvedNetwork> => {
    assertDefaultNetwork(conf);
    return first === undefined
      ? await resolve(conf.clusterNetwork ?? "", "clusterNetwork")
      : { list: parseDelegate(first, 0) };
  };
  return {
    multusNamespace,
    systemNamespaces: conf.systemNamespaces,
    namespaceIsolation: conf.namespaceIsolation,
    globalNamespaces: conf.globalNamespaces,
    furtherDelegates: further.map((text, index) =>
      parseDelegate(text, index + 1)
    ),
    defaultNetwork,
    auxiliaryChain: () => readAuxiliaryChain(conf, sources, defaultNetwork),
    defaultNetworks: () =>
      Promise.all(
        conf.defaultNetworks.map((reference, index) =>
          resolve(reference, `defaultNetworks[${index}]`)
        ),
      ),
  };
}

/** A configuration that stands in `delegates`; what is wrong with it is told with its place. */
function parseDelegate(text: JsonText, index: number): NetConfList {
  try {
    return parseConf(text);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    const { code, message, details } = error;
    throw new CniError(code, `delegates[${index}]: ${message}`, {
      details,
      cause: error,
    });
  }
}

/** The auxiliary chain, in the version of the configured default network. */
async function readAuxiliaryChain(
  { auxiliaryCNIChainName: name, clusterNetwork, confDir }: MultusConf,
  sources: NetworkSources,
  defaultNetwork: () => Promise<ResolvedNetwork>,
): Promise<NetConfList | undefined> {
  if (name === undefined) return undefined;
  const isDirectory = sources.isDirectory(clusterNetwork ?? "");
  const { list } = await defaultNetwork();
  return await loadAuxiliaryChain(name, {
    parentDir: auxiliaryParentDir(clusterNetwork, { confDir, isDirectory }),
    cniVersion: list.cniVersion,
  });
}

/** Definitions, files and devices for selection. The kubelet is asked only when a network wants a device. */
export function createSelectionSources(
  sources: NetworkSources,
  pod: Pod,
  { link, devices, nodeName, signal }: NetworkParts,
): SelectionSources {
  const claims = link === undefined
    ? undefined
    : createClaimReader(link.cluster, pod.nodeName ?? nodeName);
  let asked: Promise<DeviceMap> | undefined;
  return {
    ...sources,
    deviceIds: async (resourceName) => {
      asked ??= devices.devicesOf(pod, {
        signal,
        ...(claims === undefined ? {} : { claims }),
      });
      return (await asked).get(resourceName) ?? [];
    },
  };
}

/** Claims and slices are read with the credentials of the request. */
function createClaimReader(cluster: Cluster, nodeName: string): ClaimReader {
  return {
    nodeName,
    getResourceClaim: (namespace, name, options) =>
      cluster.getResourceClaim(namespace, name, options),
    listResourceSlices: (filter, options) =>
      cluster.listResourceSlices(filter, options),
  };
}
