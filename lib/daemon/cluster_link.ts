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
import { CredentialsError } from "../kube/error.ts";
import type {
  NodeCertificate,
  NodeCertificateEvent,
} from "../kube/node_certificate.ts";
import { until } from "../kube/waiting.ts";
import { writeFileAtomic } from "../host/atomic_file.ts";
import type { Log } from "../log.ts";
import type { PerNodeCertificate } from "./configuration.ts";

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
  /** The node's own certificate in place of any other credentials. */
  readonly nodeCertificate?: PerNodeCertificate;
  /** Where interruptions are told. */
  readonly log: Log;
  /** Told of each request, for metrics. */
  readonly onRequest?: (event: RequestEvent) => void;
}

/** The links of a daemon. */
export interface ClusterLinks extends AsyncDisposable {
  /**
   * The link that a configuration leads to: its kubeconfig, else the pod's
   * service account, else none. With a certificate of the node's own, always that.
   *
   * @throws {CredentialsError} when there are credentials and they cannot be used, or the certificate is not there yet.
   */
  of(conf: { readonly kubeconfig?: string }): Promise<ClusterLink | undefined>;
  /**
   * Opens the link of a configuration before anybody asks. A certificate that has to be approved first
   * is not waited for: its link is opened once it is there.
   *
   * @throws {CredentialsError} when there are credentials and they cannot be used.
   */
  begin(conf: { readonly kubeconfig?: string }): Promise<void>;
  /** Why there is no link yet, while the certificate is waited for. */
  readonly waitingFor: string | undefined;
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

/** Begins to look after the node's certificate, where one is wanted. The X.509 library is loaded only then. */
async function startCertificate(
  { env, log, nodeCertificate: wanted, serviceAccountDir }: LinkOptions,
): Promise<NodeCertificate | undefined> {
  if (wanted === undefined) return undefined;
  const nodeName = env(NODE_NAME_ENV) ?? "";
  if (nodeName === "") {
    throw new CredentialsError(
      `perNodeCertificate needs the node's name: ${NODE_NAME_ENV} is not set`,
    );
  }
  const { bootstrapKubeconfig, certDir, certDurationMs } = wanted;
  const { startNodeCertificate } = await import("../kube/node_certificate.ts");
  return startNodeCertificate({
    nodeName,
    certDir,
    certDurationMs,
    env,
    writeFile: (path, text) => writeFileAtomic(path, text),
    onEvent: (event) => logCertificate(log, event),
    ...(bootstrapKubeconfig === "" ? {} : { bootstrapKubeconfig }),
    ...(serviceAccountDir === undefined ? {} : { serviceAccountDir }),
  });
}

function logCertificate(log: Log, event: NodeCertificateEvent): void {
  switch (event.kind) {
    case "requested":
      return log.verbose("Asked for the node's certificate", {
        request: event.name,
      });
    case "issued":
      return log.verbose("The node has a new certificate", {
        validUntil: event.notAfter.toISOString(),
      });
    case "unusable":
      return log.error(
        `The node's certificate cannot be used, a new one is asked for: ${event.reason}`,
      );
    case "failed":
      return log.error(`No new certificate for the node: ${event.reason}`);
  }
}

/** A pair that lies there already is found in this time: a daemon that restarts has its link at once. */
const CERTIFICATE_WAIT_MS = 2_000;

function whyNotReady({ problem }: NodeCertificate): string {
  return `The node has no certificate yet: ${
    problem ?? "its request is not approved"
  }`;
}

/** Makes links as they are asked for. */
export function createClusterLinks(options: LinkOptions): ClusterLinks {
  const links = new Map<string, Promise<ClusterLink>>();
  const made: ClusterLink[] = [];
  const ending = new AbortController();
  let starting: Promise<NodeCertificate | undefined> | undefined;
  let certificate: NodeCertificate | undefined;
  let opening: Promise<unknown> = Promise.resolve();
  const open = async (kubeconfig: string): Promise<ClusterLink> => {
    const link = await connect(
      kubeconfig === "" ? undefined : kubeconfig,
      options,
    );
    made.push(link);
    return link;
  };
  const start = async (): Promise<void> => {
    certificate = await (starting ??= startCertificate(options));
  };
  const of: ClusterLinks["of"] = async (conf) => {
    await start();
    if (certificate?.isReady === false) {
      throw new CredentialsError(whyNotReady(certificate));
    }
    const kubeconfig = certificate?.kubeconfig ?? conf.kubeconfig ?? "";
    const isInCluster = (options.env(IN_CLUSTER_HOST_ENV) ?? "") !== "";
    if (kubeconfig === "" && !isInCluster) return undefined;
    const known = links.get(kubeconfig);
    if (known !== undefined) return await known;
    if (links.size >= LINKS_MAX) {
      throw new RangeError(`More than ${LINKS_MAX} kubeconfigs: ${kubeconfig}`);
    }
    const link = open(kubeconfig);
    links.set(kubeconfig, link);
    // Credentials that cannot be used now may be written a moment later: the next request tries again.
    link.catch(() => links.delete(kubeconfig));
    return await link;
  };
  return {
    of,
    async begin(conf): Promise<void> {
      await start();
      if (certificate !== undefined) {
        const { signal } = ending;
        // What fails here fails again, and is told, when a request needs the link.
        opening = certificate.whenReady(signal).then(() => of(conf)).catch(
          () => {},
        );
        await until(opening, AbortSignal.timeout(CERTIFICATE_WAIT_MS)).catch(
          () => {},
        );
      } else await of(conf);
    },
    get waitingFor(): string | undefined {
      return certificate?.isReady === false
        ? whyNotReady(certificate)
        : undefined;
    },
    list: () => made,
    async [Symbol.asyncDispose](): Promise<void> {
      ending.abort();
      await certificate?.[Symbol.asyncDispose]();
      await opening;
      for (const { cluster, status } of made) {
        await status[Symbol.asyncDispose]();
        await cluster[Symbol.asyncDispose]();
      }
    },
  };
}
