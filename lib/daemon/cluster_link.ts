/**
 * The daemon's link to the API server: credentials, caches, and the writer of
 * network-status, made once for each set of credentials that a configuration
 * names, and ended with the daemon.
 *
 * Needs what `lib/kube` needs: read of the credentials, net to the API server.
 */
import { type Cluster, createCluster } from "../kube/cluster.ts";
import { loadCredentials } from "../kube/credentials.ts";
import type { RequestEvent } from "../kube/api.ts";
import {
  createStatusWriter,
  type StatusWriter,
} from "../kube/status_writer.ts";
import type { Log } from "../log.ts";

/** A cluster, and what is written to it by the side. */
export interface ClusterLink {
  /** The cluster. */
  readonly cluster: Cluster;
  /** Writes network-status, later if need be. */
  readonly status: StatusWriter;
}

/** What links are made with. */
export interface LinkOptions {
  /** Reads one variable of the environment. */
  readonly env: (name: string) => string | undefined;
  /** Another directory than a pod's own, for tests. */
  readonly serviceAccountDir?: string;
  /** Where interruptions are told. */
  readonly log: Log;
  /** Told of each request, for metrics. */
  readonly onRequest?: (event: RequestEvent) => void;
}

/** The links of a daemon. */
export interface ClusterLinks extends AsyncDisposable {
  /**
   * The link that a configuration leads to: its kubeconfig, else the pod's
   * service account, else none.
   *
   * @throws {CredentialsError} when there are credentials and they cannot be used.
   */
  of(conf: { readonly kubeconfig?: string }): Promise<ClusterLink | undefined>;
  /** Those that there are. */
  list(): readonly ClusterLink[];
}

/** Names this node to the API server. */
export const NODE_NAME_ENV = "MULTUS_NODE_NAME";
const IN_CLUSTER_HOST_ENV = "KUBERNETES_SERVICE_HOST";

/** A daemon is told to use one kubeconfig, and a runtime's configuration another at most. */
const LINKS_MAX = 4;

async function connect(
  kubeconfig: string | undefined,
  options: LinkOptions,
): Promise<ClusterLink> {
  const { env, log } = options;
  const credentials = await loadCredentials({
    env,
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(options.serviceAccountDir === undefined
      ? {}
      : { serviceAccountDir: options.serviceAccountDir }),
  });
  const nodeName = env(NODE_NAME_ENV) ?? "";
  const cluster = createCluster({
    credentials,
    ...(nodeName === "" ? {} : { nodeName }),
    ...(options.onRequest === undefined
      ? {}
      : { onRequest: options.onRequest }),
    onWatchFailure: (resource, error) =>
      log.verbose("A watch was interrupted", {
        resource,
        reason: reasonOf(error),
      }),
  });
  cluster.start();
  const status = createStatusWriter({
    write: (pod, text, { signal }) =>
      cluster.patchNetworkStatus(pod, text, { signal }),
    onEvent: ({ pod, outcome, error }) => {
      if (outcome === "written") return;
      const fields = {
        pod: `${pod.namespace}/${pod.name}`,
        outcome,
        reason: reasonOf(error),
      };
      if (outcome === "gone") {
        log.verbose(
          "The pod is gone before its network status was written",
          fields,
        );
      } else log.error("Cannot write the network status", fields);
    },
  });
  return { cluster, status };
}

function reasonOf(error: unknown): string {
  return error instanceof Error
    ? error.message
    : error === undefined
    ? ""
    : String(error);
}

/** Makes links as they are asked for. */
export function createClusterLinks(options: LinkOptions): ClusterLinks {
  const links = new Map<string, Promise<ClusterLink>>();
  const made: ClusterLink[] = [];
  const open = async (kubeconfig: string): Promise<ClusterLink> => {
    const link = await connect(
      kubeconfig === "" ? undefined : kubeconfig,
      options,
    );
    made.push(link);
    return link;
  };
  return {
    async of(conf): Promise<ClusterLink | undefined> {
      const kubeconfig = conf.kubeconfig ?? "";
      const isInCluster = (options.env(IN_CLUSTER_HOST_ENV) ?? "") !== "";
      if (kubeconfig === "" && !isInCluster) return undefined;
      const known = links.get(kubeconfig);
      if (known !== undefined) return await known;
      if (links.size >= LINKS_MAX) {
        throw new RangeError(
          `More than ${LINKS_MAX} kubeconfigs: ${kubeconfig}`,
        );
      }
      const link = open(kubeconfig);
      links.set(kubeconfig, link);
      // Credentials that cannot be used now may be written a moment later: the next request tries again.
      link.catch(() => links.delete(kubeconfig));
      return await link;
    },
    list: () => made,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const { cluster, status } of made) {
        await status[Symbol.asyncDispose]();
        await cluster[Symbol.asyncDispose]();
      }
    },
  };
}
