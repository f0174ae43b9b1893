/**
 * What the daemon counts and times, as Prometheus metrics. Labels are bounded:
 * no pod, no container, no free text; the plugin's name comes from people's
 * configurations, so only the first few are told apart.
 *
 * What is counted where is the business of the parts that are counted; here
 * are the names, and the page. Loaded only when metrics are served.
 *
 * The number of open descriptors is not here: it is known to /proc alone, and
 * Deno lets nobody read there who has not every permission there is.
 *
 * Needs net of the metrics address.
 */
import process from "node:process";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { PluginEvent } from "../cni/list.ts";
import type { Command } from "../cni/version.ts";
import type { RequestEvent } from "../kube/api.ts";
import type { LaneGauge, LaneName } from "./limits.ts";
import type { RecordSummary } from "./records.ts";
import type { Served } from "./server.ts";

/** What is known of the API server's caches. */
export interface ApiAge {
  /** Which kind of object. */
  readonly resource: string;
  /** Whether the cache has been complete once. */
  readonly isSynced: boolean;
  /** Time since the server last said anything. */
  readonly silentMs: number;
}

/** What is asked when somebody looks at the page. */
export interface MetricSources {
  /** What the lanes are doing. */
  readonly lanes: () => Readonly<Record<LaneName, LaneGauge>>;
  /** What is attached. */
  readonly records: () => ReadonlyMap<string, RecordSummary>;
  /** DELs that wait to be done. */
  readonly pendingTeardowns: () => number;
  /** Records that cannot be read. */
  readonly damagedRecords: () => number;
  /** Records that were put aside since the start, because they could not be read. */
  readonly quarantinedRecords: () => number;
  /** Pods found at the start that run without networks they asked for. */
  readonly barePods: () => number;
  /** The caches of the API server. */
  readonly api: () => readonly ApiAge[];
  /** Whether runtimes use our configuration, and which it is. */
  readonly configuration: () => {
    readonly effective: boolean;
    readonly sha256?: string;
  };
  /** Until when the credentials are good, in milliseconds since 1970, where that is known. */
  readonly credentialExpiryMs: () => number | undefined;
}

/** Counts what happens. */
export interface Metrics {
  /** A request was answered. */
  served(served: Served): void;
  /** A plugin was run. */
  plugin(event: PluginEvent): void;
  /** A request had its turn. */
  waited(lane: LaneName, waitMs: number): void;
  /** The API server answered, or did not. */
  requested(event: RequestEvent): void;
  /** The page. */
  page(): Promise<string>;
}

/** The names that stand in the page before anything was counted. */
export interface BuildInfo {
  /** The program's version. */
  readonly version: string;
}

/** A node has a dozen plugins; more names than this are somebody's mistake, or worse. */
const PLUGIN_NAMES_MAX = 40;
const OTHER = "other";

/** From a plugin that does nothing to one that waits for a DHCP server. */
const SECONDS_BUCKETS = [
  0.002,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
  30,
  60,
  120,
];

const OK = 200;

/** What a rate is taken of is there before the first of it. */
const COMMANDS: readonly Command[] = ["ADD", "DEL", "CHECK", "GC", "STATUS"];

/** What clients send; a method is a word of their choice. */
const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "POST"]);

type Labels<T extends string> = readonly T[];

interface Instruments {
  readonly registry: Registry;
  readonly counter: <T extends string>(
    name: string,
    help: string,
    labels: Labels<T>,
  ) => Counter<T>;
  readonly histogram: <T extends string>(
    name: string,
    help: string,
    labels: Labels<T>,
  ) => Histogram<T>;
  readonly gauge: <T extends string>(
    name: string,
    help: string,
    options: { labels: Labels<T>; collect: (gauge: Gauge<T>) => void },
  ) => void;
}

function createInstruments(): Instruments {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    counter: (name, help, labels) =>
      new Counter({ name, help, labelNames: [...labels], registers }),
    histogram: (name, help, labels) =>
      new Histogram({
        name,
        help,
        labelNames: [...labels],
        buckets: SECONDS_BUCKETS,
        registers,
      }),
    gauge: (name, help, { labels, collect }) => {
      new Gauge({
        name,
        help,
        labelNames: [...labels],
        registers,
        collect(): void {
          this.reset();
          // Without labels there is a zero from the start; what is not known is not zero.
          if (labels.length === 0) this.remove();
          collect(this);
        },
      });
    },
  };
}

/** Gives the first names back, and one word for all that come after. */
function createBound(max: number): (name: string) => string {
  const known = new Set<string>();
  return (name) => {
    if (known.has(name)) return name;
    if (known.size >= max) return OTHER;
    known.add(name);
    return name;
  };
}

type Attached = Record<"kind" | "state", string>;

function countAttachments(
  records: ReadonlyMap<string, RecordSummary>,
): [Attached, number][] {
  const counts = new Map<string, [Attached, number]>();
  for (const { attachments } of records.values()) {
    for (const { name, state } of attachments) {
      const kind = name.includes("/") ? "definition" : "file";
      const count = counts.get(`${kind} ${state}`)?.[1] ?? 0;
      counts.set(`${kind} ${state}`, [{ kind, state }, count + 1]);
    }
  }
  return [...counts.values()];
}

function registerNode(
  { gauge, registry }: Instruments,
  sources: MetricSources,
): void {
  new Counter({
    name: "multus_quarantined_records_total",
    help: "Attachment records put aside because they cannot be read",
    registers: [registry],
    collect(): void {
      this.reset();
      this.inc(sources.quarantinedRecords());
    },
  });
  const lanes = { labels: ["lane"] as const };
  gauge("multus_operations_in_flight", "Requests that run now", {
    ...lanes,
    collect: (g) =>
      Object.entries(sources.lanes()).forEach(([lane, { inFlight }]) =>
        g.set({ lane }, inFlight)
      ),
  });
  gauge("multus_operations_queued", "Requests that wait for their turn", {
    ...lanes,
    collect: (g) =>
      Object.entries(sources.lanes()).forEach(([lane, { queued }]) =>
        g.set({ lane }, queued)
      ),
  });
  gauge(
    "multus_attachments",
    "Attachments on this node, by where their network is defined",
    {
      labels: ["kind", "state"],
      collect: (g) =>
        countAttachments(sources.records()).forEach(([labels, count]) =>
          g.set(labels, count)
        ),
    },
  );
  gauge(
    "multus_pending_teardowns",
    "DELs that could not be done yet and are tried again",
    {
      labels: [],
      collect: (g) => g.set(sources.pendingTeardowns()),
    },
  );
  gauge(
    "multus_bare_pods",
    "Pods that run without networks they asked for, found at the start",
    {
      labels: [],
      collect: (g) => g.set(sources.barePods()),
    },
  );
  gauge("multus_damaged_records", "Attachment records that cannot be read", {
    labels: [],
    collect: (g) => g.set(sources.damagedRecords()),
  });
}

function registerCluster({ gauge }: Instruments, sources: MetricSources): void {
  gauge(
    "multus_api_watch_age_seconds",
    "Time since the API server last said anything to a watch",
    {
      labels: ["resource"],
      collect: (g) =>
        sources.api().filter(({ silentMs }) => Number.isFinite(silentMs))
          .forEach(({ resource, silentMs }) =>
            g.set({ resource }, silentMs / 1000)
          ),
    },
  );
  gauge("multus_api_cache_synced", "Whether the cache has been complete once", {
    labels: ["resource"],
    collect: (g) =>
      sources.api().forEach(({ resource, isSynced }) =>
        g.set({ resource }, isSynced ? 1 : 0)
      ),
  });
  gauge(
    "multus_cni_config_effective",
    "Whether container runtimes use the configuration of Multus",
    {
      labels: ["sha256"],
      collect: (g) => {
        const { effective, sha256 = "" } = sources.configuration();
        g.set({ sha256 }, effective ? 1 : 0);
      },
    },
  );
  gauge(
    "multus_credential_expiry_timestamp_seconds",
    "Until when the credentials for the API server are good",
    {
      labels: [],
      collect: (g) => {
        const expiry = sources.credentialExpiryMs();
        if (expiry !== undefined) g.set(expiry / 1000);
      },
    },
  );
}

function registerProcess(
  { gauge, registry }: Instruments,
  build: BuildInfo,
): void {
  gauge("multus_build_info", "What runs here", {
    labels: ["version", "deno"],
    collect: (g) =>
      g.set({ version: build.version, deno: Deno.version.deno }, 1),
  });
  gauge("process_resident_memory_bytes", "Resident memory size in bytes", {
    labels: [],
    collect: (g) => g.set(Deno.memoryUsage().rss),
  });
  new Counter({
    name: "process_cpu_seconds_total",
    help: "User and system CPU time spent in seconds",
    registers: [registry],
    collect(): void {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  const startedAt = Date.now() / 1000;
  gauge(
    "process_start_time_seconds",
    "Start time of the process since the epoch in seconds",
    {
      labels: [],
      collect: (g) => g.set(startedAt),
    },
  );
}

interface RequestInstruments {
  readonly requests: Counter<"handler" | "code" | "method">;
  readonly duration: Histogram<"command">;
  readonly overhead: Histogram<"command">;
  readonly wait: Histogram<"lane">;
  readonly exceeded: Counter<"command">;
  readonly executions: Counter<"plugin" | "command" | "result">;
  readonly pluginSeconds: Histogram<"plugin" | "command">;
}

/** What is counted of requests and of the plugins that they run. */
function registerRequests(
  { counter, histogram }: Instruments,
): RequestInstruments {
  return {
    requests: counter("multus_server_request_total", "Requests answered", [
      "handler",
      "code",
      "method",
    ]),
    duration: histogram(
      "multus_operation_duration_seconds",
      "Time from request to answer",
      ["command"],
    ),
    overhead: histogram(
      "multus_operation_overhead_seconds",
      "The same without plugins and queue",
      ["command"],
    ),
    wait: histogram(
      "multus_queue_wait_seconds",
      "Time until a request had its turn",
      ["lane"],
    ),
    exceeded: counter(
      "multus_deadline_exceeded_total",
      "Operations that ran out of time",
      ["command"],
    ),
    executions: counter("multus_cni_plugin_execution_total", "Plugins run", [
      "plugin",
      "command",
      "result",
    ]),
    pluginSeconds: histogram(
      "multus_cni_plugin_execution_duration_seconds",
      "Time that a plugin took",
      ["plugin", "command"],
    ),
  };
}

interface ApiInstruments {
  readonly api: Counter<"verb" | "resource" | "code">;
  readonly apiSeconds: Histogram<"verb" | "resource">;
}

/** What is counted of requests to the API server. */
function registerApi({ counter, histogram }: Instruments): ApiInstruments {
  return {
    api: counter(
      "multus_api_requests_total",
      "Requests to the API server; code 0 is no answer",
      ["verb", "resource", "code"],
    ),
    apiSeconds: histogram(
      "multus_api_request_duration_seconds",
      "Time until the API server answered",
      ["verb", "resource"],
    ),
  };
}

/** Registers when GC was last done; the function that says: now. */
function registerGc({ gauge }: Instruments): () => void {
  let doneMs: number | undefined;
  gauge(
    "multus_last_gc_timestamp_seconds",
    "When GC was last done, since this start",
    {
      labels: [],
      collect: (g) => {
        if (doneMs !== undefined) g.set(doneMs / 1000);
      },
    },
  );
  return () => {
    doneMs = Date.now();
  };
}

/** Makes the metrics, with everything that can be known before anything has happened. */
export function createMetrics(
  sources: MetricSources,
  build: BuildInfo,
): Metrics {
  const instruments = createInstruments();
  registerNode(instruments, sources);
  registerCluster(instruments, sources);
  registerProcess(instruments, build);
  const { executions, pluginSeconds, wait, ...of } = registerRequests(
    instruments,
  );
  const { api, apiSeconds } = registerApi(instruments);
  const gcDone = registerGc(instruments);
  for (const command of COMMANDS) of.exceeded.inc({ command }, 0);
  const pluginName = createBound(PLUGIN_NAMES_MAX);
  return {
    served(served): void {
      const { handler, code, command, durationMs, tally, isLate } = served;
      const method = METHODS.has(served.method) ? served.method : OTHER;
      of.requests.inc({ handler, method, code });
      if (command === undefined) return;
      if (command === "GC" && code === OK) gcDone();
      const { pluginMs = 0, waitMs = 0 } = tally ?? {};
      const ownMs = Math.max(0, durationMs - pluginMs - waitMs);
      of.duration.observe({ command }, durationMs / 1000);
      of.overhead.observe({ command }, ownMs / 1000);
      if (isLate) of.exceeded.inc({ command });
    },
    plugin({ type, command, durationMs, error }): void {
      const plugin = pluginName(type);
      const result = error === undefined ? "success" : "failure";
      executions.inc({ plugin, command, result });
      pluginSeconds.observe({ plugin, command }, durationMs / 1000);
    },
    waited: (lane, waitMs) => wait.observe({ lane }, waitMs / 1000),
    requested({ verb, resource, code, durationMs }): void {
      api.inc({ verb, resource, code });
      apiSeconds.observe({ verb, resource }, durationMs / 1000);
    },
    page: () => instruments.registry.metrics(),
  };
}

/** A scrape takes milliseconds; whoever holds a connection longer than this does not keep the daemon from its end. */
const CLOSE_MS = 500;

/**
 * Serves the page at `/metrics`; port 0 is any free one.
 *
 * @throws what Deno says about the address
 */
export function serveMetrics(
  metrics: Metrics,
  address: { readonly hostname: string; readonly port: number },
): { readonly port: number } & AsyncDisposable {
  const closing = new AbortController();
  const server = Deno.serve(
    { ...address, signal: closing.signal, onListen: () => {} },
    async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname !== "/metrics") {
        return new Response("Not found\n", { status: 404 });
      }
      const headers = {
        "content-type": "text/plain; version=0.0.4; charset=utf-8",
      };
      return new Response(await metrics.page(), { headers });
    },
  );
  return {
    port: server.addr.port,
    async [Symbol.asyncDispose](): Promise<void> {
      const timer = setTimeout(() => closing.abort(), CLOSE_MS);
      await server.shutdown();
      clearTimeout(timer);
    },
  };
}
