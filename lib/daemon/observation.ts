/**
 * The daemon seen from outside: its readiness, the status that `multusctl`
 * shows, and what its metrics are taken from. It looks; it changes nothing.
 */
import type { Log } from "../log.ts";
import { PROGRAM_VERSION } from "../wire/program_version.ts";
import type { RequestEvent } from "../kube/api.ts";
import type { AutoConfig, AutoConfigState } from "./auto_config.ts";
import type { ClusterLinks } from "./cluster_link.ts";
import type { DaemonConf } from "./configuration.ts";
import type { LaneGauge, LaneName, Limits } from "./limits.ts";
import type { ApiAge, Metrics, MetricSources } from "./metrics.ts";
import type { Readiness } from "./readiness.ts";
import type { Reconciled } from "./reconcile.ts";
import type { Records } from "./records.ts";
import type { Check } from "./server.ts";

/** The daemon's status, as `GET /status` gives it. */
export interface StatusDocument {
  /** The daemon's version. */
  readonly version: string;
  /** The Deno that it runs on. */
  readonly deno: string;
  /** When it started, in ISO 8601. */
  readonly startedAt: string;
  /** Whether it takes ADDs. */
  readonly ready: boolean;
  /** What that is made of. */
  readonly checks: readonly Check[];
  /** Its own configuration file. */
  readonly configPath: string;
  /** The generated configuration, where one is written. */
  readonly configuration?: AutoConfigState;
  /** The caches of the API server. */
  readonly caches: readonly ApiAge[];
  /** What each lane is doing. */
  readonly lanes: Readonly<Record<LaneName, LaneGauge>>;
  /** What the shim of the last CNI request called itself; absent before the first. */
  readonly lastClient?: string;
  /** How many containers have attachments. */
  readonly containers: number;
  /** DELs that wait to be done. */
  readonly pendingTeardowns: number;
  /** Containers whose record cannot be read. */
  readonly damagedRecords: readonly string[];
  /** Pods that wait for their network-status to be written. */
  readonly pendingStatuses: number;
}

/** What is looked at; parts that come later are set when they are there. */
export interface Observed {
  /** The daemon's configuration. */
  readonly conf: DaemonConf;
  /** Who says whether ADDs are taken. */
  readonly readiness: Readiness;
  /** Links to clusters. */
  readonly links: ClusterLinks;
  /** The lanes. */
  readonly limits: Limits;
  /** The records. */
  readonly records: Records;
  /** DELs that wait, as of the last look. */
  pendingTeardowns: () => number;
  /** What the shim of the last CNI request called itself. */
  lastClient?: string;
  /** The keeper of the generated configuration. */
  autoConfig?: AutoConfig;
  /** What was found at the start. */
  reconciled?: Reconciled;
  /** Where things are counted. */
  metrics?: Metrics;
  /** Requests to the API server that the metrics are still to be told of. */
  readonly early: RequestEvent[];
}

/** The API server's caches, of the first link: others only read. */
function agesOf({ links }: Observed): ApiAge[] {
  const [link] = links.list();
  if (link === undefined) return [];
  const { pods, attachments } = link.cluster.isSynced();
  const { podsMs, attachmentsMs } = link.cluster.silence();
  return [
    { resource: "pods", isSynced: pods, silentMs: podsMs },
    {
      resource: "network-attachment-definitions",
      isSynced: attachments,
      silentMs: attachmentsMs,
    },
  ];
}

/** Whether pods and networks are known: from complete caches, else read live, where the API server answers that. */
export function clusterProbe(observed: Observed): Check {
  const waiting = agesOf(observed).filter((age) => !age.isSynced).map((age) =>
    age.resource
  );
  const name = "cluster";
  if (waiting.length === 0) {
    return { name, ok: true, reason: "caches are complete" };
  }
  const reason = `waiting for ${waiting.join(" and ")} of the API server`;
  return observed.links.list()[0]?.cluster.readsLive() === true
    ? { name, ok: true, reason: `${reason}, meanwhile each is read live` }
    : { name, ok: false, reason };
}

/** The runtimes' configuration; looked at once the socket is there, because only a daemon that serves asks for pods. */
export function configurationProbe({ autoConfig }: Observed): Check {
  return autoConfig?.probe() ?? {
    name: "configuration",
    ok: false,
    reason: "the default network's configuration is being looked for",
  };
}

/** Makes the function that gives the status. */
export function createStatus(observed: Observed): () => StatusDocument {
  const startedAt = new Date().toISOString();
  return () => {
    const checks = observed.readiness.checks();
    return {
      version: PROGRAM_VERSION,
      deno: Deno.version.deno,
      startedAt,
      ready: checks.every((check) => check.ok),
      checks,
      configPath: observed.conf.path,
      ...(observed.autoConfig === undefined
        ? {}
        : { configuration: observed.autoConfig.state() }),
      caches: agesOf(observed).map((age) => ({
        ...age,
        // JSON has no infinity: a server that never said anything is -1.
        silentMs: Number.isFinite(age.silentMs) ? Math.round(age.silentMs) : -1,
      })),
      lanes: observed.limits.gauges(),
      ...(observed.lastClient === undefined
        ? {}
        : { lastClient: observed.lastClient }),
      containers: observed.records.summaries().size,
      pendingTeardowns: observed.pendingTeardowns(),
      damagedRecords: [...observed.records.damaged()],
      pendingStatuses: observed.links.list().reduce(
        (sum, link) => sum + link.status.pending(),
        0,
      ),
    };
  };
}

/** More than a start makes; the rest of a node whose metrics never come is not kept. */
const EARLY_MAX = 100;

/** Counts a request to the API server; one that was made before there were metrics, once there are. */
export function countRequest(observed: Observed, event: RequestEvent): void {
  const { conf, early, metrics } = observed;
  if (metrics !== undefined) metrics.requested(event);
  else if (conf.metricsPort !== undefined && early.length < EARLY_MAX) {
    early.push(event);
  }
}

/** What the metrics are taken from. */
export function metricSourcesOf(observed: Observed): MetricSources {
  return {
    lanes: () => observed.limits.gauges(),
    records: () => observed.records.summaries(),
    pendingTeardowns: () => observed.pendingTeardowns(),
    damagedRecords: () => observed.records.damaged().size,
    quarantinedRecords: () => observed.records.quarantined(),
    barePods: () => observed.reconciled?.bare ?? 0,
    api: () => agesOf(observed),
    configuration: () => {
      const state = observed.autoConfig?.state();
      return {
        effective: state?.effective ?? true,
        ...(state?.sha256 === undefined ? {} : { sha256: state.sha256 }),
      };
    },
    credentialExpiryMs: () =>
      observed.links.list()[0]?.cluster.credentialExpiryMs(),
  };
}

/**
 * Starts to serve metrics, where the configuration asks for it; the library is loaded only then. Pods get
 * their networks also where metrics cannot be served: that is told, and nothing is counted.
 */
export async function observeByMetrics(
  observed: Observed,
  log: Log,
): Promise<AsyncDisposable | undefined> {
  const { metricsPort: port, metricsBindAddress: hostname } = observed.conf;
  if (port === undefined) return undefined;
  const { createMetrics, serveMetrics } = await import("./metrics.ts");
  const metrics = createMetrics(metricSourcesOf(observed), {
    version: PROGRAM_VERSION,
  });
  try {
    const server = serveMetrics(metrics, { hostname, port });
    log.verbose("Serving metrics", { address: hostname, port: server.port });
    observed.metrics = metrics;
    for (const event of observed.early.splice(0)) metrics.requested(event);
    return server;
  } catch (error) {
    log.error(whyNoMetrics(error, `${hostname}:${port}`));
    return undefined;
  }
}

function whyNoMetrics(error: unknown, address: string): string {
  const start = `Cannot serve metrics on ${address}`;
  if (error instanceof Deno.errors.AddrInUse) {
    return `${start}: another program has this port; choose another metricsPort`;
  }
  if (error instanceof Deno.errors.NotCapable) {
    return `${start}: the executable was built without this address; build it with "metrics": "${address}" in its profile`;
  }
  return `${start}: ${error instanceof Error ? error.message : String(error)}`;
}
